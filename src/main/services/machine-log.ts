/** The log of one machine, as the runtime writes it: one JSON object per line. */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { inEnglish, logLine, type LogLine, type Said } from '../../preload/contract'
import { systemCode } from './errors'

/** More than this is not read back: a machine's log is short, a broken one must not fill the memory. */
const TAIL_BYTES = 1 << 20

export const logFolder = (machineDir: string): string => join(machineDir, 'logs')

/** A line of now: the file and the command line have it in English. */
export function logLineOf(level: LogLine['level'], said: Said): LogLine {
  return { time: new Date().toISOString(), level, text: inEnglish(said), ...(typeof said === 'string' ? {} : { phrase: said }) }
}

async function readTail(path: string): Promise<string> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (!handle) return ''
  try {
    const { size } = await handle.stat()
    const start = Math.max(0, size - TAIL_BYTES)
    const buffer = Buffer.alloc(size - start)
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await handle.close()
  }
}

function parseLine(text: string): LogLine[] {
  try {
    const parsed = logLine.safeParse(JSON.parse(text))
    return parsed.success ? [parsed.data] : []
  } catch {
    // The first line of the tail may be cut, the last half-written.
    return []
  }
}

/** The last lines, oldest first. */
export async function readMachineLog(machineDir: string, lines: number): Promise<LogLine[]> {
  return (await readTail(join(logFolder(machineDir), 'machine.log'))).split('\n').flatMap(parseLine).slice(-lines)
}
