/**
 * Runs a bundled program with the engine's code for it made ahead of time: reading and compiling three megabytes of JavaScript is a
 * third of a start otherwise. The code belongs to one engine and one build; where it does not fit the program is compiled as ever.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import Module, { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { Script } from 'node:vm'
import { settleEngineFlags } from './engine-flags'
import { ENGINE } from './machine-code'

/** The last line of a bundle: what the build says it is. */
const ID_LINE = /\n\/\/ build ([0-9a-f]{64})\n$/
const ID_LENGTH = '\n// build \n'.length + 64

/** What the build calls the bundle: a hash of its contents. Undefined where it says nothing. */
export const buildIdOf = (text: string): string | undefined => ID_LINE.exec(text.slice(-ID_LENGTH))?.[1]

/**
 * What tells a program from every other: what the build calls it, else the SHA-256 of the file, in hexadecimal.
 * @throws Error where the file cannot be read
 */
export function programId(path: string): string {
  const file = openSync(path, 'r')
  try {
    const end = Buffer.alloc(ID_LENGTH)
    readSync(file, end, 0, ID_LENGTH, Math.max(0, fstatSync(file).size - ID_LENGTH))
    return buildIdOf(end.toString('latin1')) ?? createHash('sha256').update(readFileSync(path)).digest('hex')
  } finally {
    closeSync(file)
  }
}

/** Where the engine's code for a use of a bundle is kept: one file for each version of the engine. */
export const codePathOf = (program: string, use?: string): string => `${program}${use === undefined ? '' : `.${use}`}.${ENGINE}.code`

interface Compiled { readonly script: Script; readonly id: string | undefined }

function compile(path: string, use: string | undefined): Compiled {
  settleEngineFlags()
  const bytes = readFileSync(path)
  const id = buildIdOf(bytes.toString('latin1', Math.max(0, bytes.length - ID_LENGTH)))
  // What the build has named is ASCII, and need not be decoded.
  const source = bytes.toString(id === undefined ? 'utf8' : 'latin1')
  const script = new Script(Module.wrap(source), { filename: path, cachedData: id === undefined ? undefined : keptCode(codePathOf(path, use), id) })
  return { script, id }
}

/** The engine compares no more than the source's length, so the build's name goes before the code. */
function keptCode(path: string, id: string): Buffer | undefined {
  try {
    const file = readFileSync(path)
    return file.toString('latin1', 0, id.length) === id ? file.subarray(id.length) : undefined
  } catch {
    return undefined
  }
}

export interface ProgramOptions {
  /** The engine's code is to be kept beside it when the process ends, for the next time. */
  readonly keep?: boolean
  /** What it is run for, where it has several uses: the code of each is kept by itself, for others need other functions. */
  readonly use?: string
}

/**
 * Runs the CommonJS bundle at `path`.
 * @returns true where code that was kept is used
 */
export function runProgram(path: string, { keep = false, use }: ProgramOptions = {}): boolean {
  const { script, id } = compile(path, use)
  // Functions that ran by then are part of it.
  if (keep && id !== undefined) process.once('exit', () => writeFileSync(codePathOf(path, use), Buffer.concat([Buffer.from(id, 'latin1'), script.createCachedData()])))
  const module = { exports: {} }
  const run = script.runInThisContext() as (...names: unknown[]) => void
  run.call(module.exports, module.exports, createRequire(path), module, path, dirname(path))
  return script.cachedDataRejected === false
}
