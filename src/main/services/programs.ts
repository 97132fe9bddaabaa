/** Programs of this computer that help, where they are there. */
import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

/** Runs a program to its end. @returns what it wrote @throws AbortError, or an Error with what it complained of */
export function execute(command: string, args: readonly string[], options: { cwd?: string; signal: AbortSignal }): Promise<Buffer> {
  const env = { ...process.env, LC_ALL: 'C' }
  return new Promise((resolve, reject) => {
    execFile(command, args, { ...options, env, encoding: 'buffer', maxBuffer: 1 << 28 }, (error, stdout, stderr) => {
      if (!error) return resolve(stdout)
      if (error.name === 'AbortError') return reject(error)
      const complaint = stderr.toString().trim().split('\n').slice(-3).join(' ')
      reject(new Error(`${command}: ${complaint === '' ? error.message : complaint}`))
    })
  })
}

/** Where a program is, also one for administrators, whose folders are in few people's PATH; undefined where it is not. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const dir of [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']) {
    const path = join(dir, name)
    if (dir !== '' && await access(path, constants.X_OK).then(() => true, () => false)) return path
  }
  return undefined
}
