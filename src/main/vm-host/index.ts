/** Entry of the machine's process. Started by the embedded engine only. */
import { VmHost } from './host'
import type { FromHost } from './protocol'

const { send } = process
if (!send) {
  process.stderr.write('nestbox: the machine process is started by the manager, not by hand\n')
  process.exit(2)
}

const host = new VmHost(
  (message: FromHost) => {
    // Of a manager that is just dying `disconnect` tells; until then what cannot be sent is dropped.
    if (process.connected) process.send?.(message, undefined, undefined, () => undefined)
  },
  (code) => {
    // Messages still in the pipe go out before the channel closes.
    if (process.connected) process.disconnect()
    process.exitCode = code
    setTimeout(() => process.exit(code), 1000).unref()
  },
)

process.on('message', (message) => host.receive(message))
// A manager that died leaves no orphan: the machine ends, its disks are closed in order.
process.on('disconnect', () => host.stop())
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => host.stop())
process.send?.({ type: 'ready' } satisfies FromHost)
// While the manager answers, or for a machine that nobody has started yet.
host.prepare()
