/** A process that builds a machine which will be launched in a moment: nobody waits for that then. */
import type { LaunchConfig, ToHost } from '../../vm-host/protocol'
import type { StartedProcess } from './spare-processes'

export class PreparedProcess {
  private isGone = false
  private readonly died = (): void => void (this.isGone = true)

  /** @param images as the message `prepare` has them */
  constructor(private readonly started: StartedProcess, config: LaunchConfig, images: readonly string[]) {
    const { child } = started
    child.on('error', this.died)
    child.on('exit', this.died)
    // Who has died cannot be told anything; `take` says so.
    child.send({ type: 'prepare', config, images: [...images] } satisfies ToHost, () => undefined)
  }

  /** The process, for the machine's launch; undefined where it died. */
  take(): StartedProcess | undefined {
    const { started: { child } } = this
    child.off('error', this.died)
    child.off('exit', this.died)
    if (!this.isGone && child.connected) return this.started
    child.kill('SIGKILL')
    return undefined
  }

  /** The machine will not be launched. */
  drop(): void {
    this.started.child.on('error', () => undefined)
    this.take()
    this.started.child.kill('SIGKILL')
  }
}
