/** `nestbox serve` and `nestbox manager`: processes that stay. */
import { join } from 'node:path'
import type { Command } from 'commander'
import { connectHolder, openManager, type OpenedManager } from '../ipc/open-manager'
import { WebServer } from '../ipc/web-server'
import { readHolder } from '../services/library/lock'
import { defaultHome } from '../services/home'
import { createManager } from '../services/manager'
import { ExitCode } from './exit-codes'
import { CliError, printJson, say } from './output'
import { parseInteger } from './resolve'

/** Beside `out/cli/nestbox.cjs`. */
const outFile = (...parts: string[]): string => join(__dirname, '..', ...parts)
const options = (): Parameters<typeof createManager>[0] => ({ home: defaultHome(), vmHostEntry: outFile('main', 'vm-host.cjs'), spareProcesses: 1 })

/** Resolves with the reason to end: a signal, or the loss of the library. */
function endOf(manager: OpenedManager): Promise<{ code: number; reason?: string }> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve({ code: ExitCode.OK }))
    manager.onLost((reason) => resolve({ code: ExitCode.UNREACHABLE, reason }))
  })
}

async function finish(manager: OpenedManager, end: { code: number; reason?: string }): Promise<void> {
  if (end.reason) process.stderr.write(`nestbox: ${end.reason}\n`)
  await manager.shutdown('suspend')
  process.exitCode = end.code
}

interface ServeOptions {
  readonly port: string
  readonly token?: string
  readonly json?: boolean
}

async function serve({ port, token, json }: ServeOptions): Promise<void> {
  const number = parseInteger('--port', port)
  if (number > 65535) throw new CliError(ExitCode.USAGE, `--port ${port}: must be 0 to 65535`)
  if (token !== undefined && !/^[\w-]{16,128}$/.test(token)) throw new CliError(ExitCode.USAGE, '--token: 16 to 128 letters, digits, - and _ are needed')
  const manager = await openManager(options())
  const ending = endOf(manager)
  try {
    const web = await WebServer.listen({ endpoint: manager, root: outFile('renderer'), port: number, ...(token === undefined ? {} : { token }) })
    if (json) printJson({ url: web.address, pid: process.pid, joined: !manager.isLocal })
    else say(false, `${web.address}\nWhoever has this address commands your machines. Ctrl-C ends ${manager.isLocal ? 'the server and suspends its machines' : 'the server; the machines go on'}.`)
    void manager.resumeSuspended()
    const end = await ending
    await web.close()
    await finish(manager, end)
  } catch (error) {
    await manager.shutdown()
    throw error
  }
}

/** Resolves when nobody has been connected and no machine has run for so long. */
function idleFor(manager: OpenedManager, seconds: number): Promise<{ code: number; reason?: string }> {
  return new Promise((resolve) => {
    let since = Date.now()
    setInterval(() => {
      if (manager.runningCount() > 0 || manager.clients() > 0) since = Date.now()
      else if (Date.now() - since > seconds * 1000) resolve({ code: ExitCode.OK })
    }, 1000).unref()
  })
}

async function runManager({ idleExit }: { idleExit?: string }): Promise<void> {
  const manager = await openManager(options())
  if (!manager.isLocal) {
    await manager.shutdown()
    say(false, 'A manager runs already.')
    return
  }
  const ends = [endOf(manager)]
  if (idleExit !== undefined) ends.push(idleFor(manager, parseInteger('--idle-exit', idleExit)))
  await finish(manager, await Promise.race(ends))
}

async function status({ json }: { json?: boolean }): Promise<void> {
  const client = await connectHolder(defaultHome())
  const host = client ? await client.call('host.info', {}) : undefined
  client?.close()
  if (json) printJson({ running: host !== undefined, home: defaultHome(), ...(host ? { pid: host.pid, version: host.version } : {}) })
  else say(false, host ? `The manager runs as process ${host.pid}.` : 'No manager runs.')
}

async function stopManager({ json }: { json?: boolean }): Promise<void> {
  const client = await connectHolder(defaultHome())
  if (!client) {
    if (json) printJson({ stopped: false })
    else say(false, 'No manager runs.')
    return
  }
  const { pid } = await client.call('host.info', {})
  process.kill(pid, 'SIGTERM')
  await client.closed
  const deadline = Date.now() + 20_000
  // The library is free only when its lock is.
  while (await readHolder(defaultHome()) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  if (json) printJson({ stopped: true, pid })
  else say(false, 'The manager is stopped, its machines are suspended.')
}

export function addServeCommands(program: Command): void {
  program.command('serve').description('the app in a browser of this computer; prints the address')
    .option('--port <number>', 'port on loopback; 0 for any free one', '0')
    .option('--token <text>', 'token the address carries; a random one where none is given')
    .option('--json', 'print JSON').action(serve)
  const manager = program.command('manager').description('the background process that runs machines; commands start it where it is needed')
    .option('--idle-exit <seconds>', 'end when nothing ran and nobody asked for so long').action(runManager)
  manager.command('status').description('whether it runs').option('--json', 'print JSON').action(status)
  manager.command('stop').description('suspend all machines and stop the manager').option('--json', 'print JSON').action(stopManager)
}
