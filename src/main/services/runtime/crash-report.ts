/** The report of a crash whose process wrote none: it was killed, or hung. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { LastState, ProcessEnd } from '../../engines/embedded/machine-process'

export type Crash = Extract<ProcessEnd, { kind: 'crashed' }>

/** Where it goes; undefined where there is nothing to tell but the message. */
export function reportPath(logDir: string, { lastState }: Crash): string | undefined {
  return lastState && join(logDir, `crash-${new Date().toISOString().replaceAll(':', '-')}.txt`)
}

/** @throws what the file system does */
export async function writeReport(path: string, name: string, message: string, { time, text }: LastState): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${name}\n${message}\n\nlast heartbeat: ${time}\n${text}\n`)
}
