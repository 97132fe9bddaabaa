/** A line to the manager of the library; starts one in the background where none runs. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { connectHolder } from '../ipc/open-manager'
import type { LocalClient } from '../ipc/local-client'
import { messageOf, ServiceError, writeError } from '../services/errors'
import { defaultHome } from '../services/home'

const START_TIMEOUT_MS = 20_000
const RETRY_MS = 50
/** A manager started by a command ends when nobody has needed it for this long. */
const IDLE_EXIT_SECONDS = 600

function startManager(home: string): { child: ChildProcess; log: string } {
  const log = join(home, 'manager.log')
  let output: number
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 })
    output = openSync(log, 'w', 0o600)
  } catch (error) {
    throw writeError(error, log)
  }
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1], 'manager', '--idle-exit', String(IDLE_EXIT_SECONDS)], {
    detached: true, stdio: ['ignore', output, output], cwd: home, env: { ...process.env, NESTBOX_HOME: home },
  })
  closeSync(output)
  child.unref()
  return { child, log }
}

/** @throws ServiceError with what the manager said where it could not start */
export async function connectManager(): Promise<LocalClient> {
  const home = defaultHome()
  const running = await connectHolder(home)
  if (running) return running
  const { child, log } = startManager(home)
  let failure: string | undefined
  child.once('error', (error) => (failure = messageOf(error)))
  child.once('exit', (code) => (failure ??= `it ended with code ${code ?? 'unknown'}`))
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const client = await connectHolder(home)
    if (client) return client
    if (failure !== undefined || Date.now() > deadline) {
      const said = readFileSync(log, 'utf8').trim().split('\n').slice(-3).join(' ').replaceAll('nestbox: ', '')
      throw new ServiceError('library-locked', said === '' ? `The manager did not start: ${failure ?? 'no answer in time'}.` : said, { log })
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** Runs one command with a line to the manager. */
export async function withManager<T>(work: (client: LocalClient) => Promise<T>): Promise<T> {
  const client = await connectManager()
  try {
    return await work(client)
  } finally {
    client.close()
  }
}
