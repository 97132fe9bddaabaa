/** A process that builds a machine which will be launched in a moment: nobody waits for that then. */
import { inEnglish, phrase } from '../../../preload/contract'
import { fromHost, type LaunchConfig, type ToHost } from '../../vm-host/protocol'
import { ProcessEndError } from './machine-process'
import type { StartedProcess } from './spare-processes'

export class PreparedProcess {
  private isGone = false
  /** Resolves when the machine is built. @throws ProcessEndError with the reason it is not */
  readonly built: Promise<void>
  private settled!: { resolve: () => void; reject: (error: Error) => void }
  private readonly died = (): void => {
    this.isGone = true
    const what = phrase('run.notPrepared')
    this.settled.reject(new ProcessEndError({ kind: 'crashed', message: inEnglish(what), phrase: what }))
  }

  /** @param images @param wholeState as the message `prepare` has them */
  constructor(private readonly started: StartedProcess, config: LaunchConfig, images: readonly string[], wholeState = false) {
    const { child } = started
    this.built = new Promise((resolve, reject) => (this.settled = { resolve, reject }))
    // Nobody need wait for it.
    this.built.catch(() => undefined)
    child.on('error', this.died)
    child.on('exit', this.died)
    child.on('message', this.receive)
    // Who has died cannot be told anything; `take` says so.
    child.send({ type: 'prepare', config, images: [...images], wholeState } satisfies ToHost, () => undefined)
  }

  private readonly receive = (raw: unknown): void => {
    const parsed = fromHost.safeParse(raw)
    if (parsed.data?.type === 'prepared') this.settled.resolve()
    else if (parsed.data?.type === 'not-prepared') this.settled.reject(new ProcessEndError({ ...parsed.data, kind: 'refused' }))
    // It is for whoever launches the machine.
    else this.started.unheard.push(raw)
  }

  /** The process, for the machine's launch; undefined where it died. */
  take(): StartedProcess | undefined {
    const { started: { child } } = this
    child.off('error', this.died)
    child.off('exit', this.died)
    child.off('message', this.receive)
    if (!this.isGone && child.connected) return this.started
    child.kill('SIGKILL')
    return undefined
  }

  /** The machine will not be launched. */
  drop(): void {
    this.died()
    this.started.child.on('error', () => undefined)
    this.take()
    this.started.child.kill('SIGKILL')
  }
}
