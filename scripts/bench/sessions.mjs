/** Runs of one peer with one guest: a boot to the shell, an idle while, guest programs, Debian to its login. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GuestConsole } from './console.mjs'
import { MEMORY_MIB, peerCommand } from './peers.mjs'
import { watchIdle } from './process-figures.mjs'

const SHELL = /NESTBOX-SHELL-READY/
const PROMPT = /# /
export const BOOT_LIMIT_S = 400
const END_LIMIT_S = 20
/** Nestbox writes its translations down as it ends. */
const EXIT_LIMIT_S = 20
const LOGIN_LIMIT_S = 180
const SETTLE_MS = 5000
const seconds = (from, to) => (to - from) / 1000

/** One start of a peer. `logPath` is where its console goes; a failure names it. */
export class Session {
  /** @param guest {width, kernel, initrd, append, disk?, stateDir} */
  constructor(peer, guest, logPath) {
    this.logPath = logPath
    this.statsFile = join(guest.stateDir, 'figures.json')
    mkdirSync(guest.stateDir, { recursive: true })
    rmSync(this.statsFile, { force: true })
    this.console = new GuestConsole(peerCommand(peer, { ...guest, statsFile: this.statsFile }))
  }

  /** @returns {seconds, cpu} from the process's start to the pattern: time, and CPU time of the process */
  async boot(pattern = SHELL) {
    const { at, cpu } = await this.console.wait(pattern, BOOT_LIMIT_S)
    return { seconds: seconds(this.console.started, at), cpu }
  }

  async prompt() {
    await this.console.wait(PROMPT, BOOT_LIMIT_S)
  }

  async idle() {
    await sleep(SETTLE_MS)
    return watchIdle(this.console.child.pid, MEMORY_MIB << 20)
  }

  /**
   * Runs the programs in turn, telling `report` each one's {seconds, cpu} and result.
   * @returns undefined, or {name, message} of the one that did not end
   */
  async programs(names, limit, report) {
    this.console.type(`sh /bench/run ${names.join(' ')}\n`)
    for (const name of names) {
      try {
        const start = await this.console.wait(new RegExp(`START ${name}\\r?\\n`), limit)
        const end = await this.console.wait(new RegExp(`END ${name} (\\S+)\\r?\\n`), limit)
        report(name, { seconds: seconds(start.at, end.at), cpu: end.cpu - start.cpu }, end.match[1])
      } catch (error) {
        return { name, message: error.message }
      }
    }
    return undefined
  }

  /** What the guest's kernel complained of while the programs ran. */
  async remarks() {
    const from = this.console.position
    await this.console.wait(/ALL DONE/, BOOT_LIMIT_S)
    return [...this.console.said.text.slice(from, this.console.position).matchAll(/REMARK (.*?)\r?\n/g)].map((match) => match[1])
  }

  /** Types what switches the guest off, waits until it is, ends the process. @returns Nestbox's figures, undefined of other peers */
  async end(shutdown = powerOff) {
    await shutdown(this)
    await this.close(EXIT_LIMIT_S)
    return existsSync(this.statsFile) ? JSON.parse(readFileSync(this.statsFile, 'utf8')) : undefined
  }

  /** Ends the process, after that many seconds by force, and keeps what the console said. */
  async close(limit = 0) {
    this.console.child.stdin.end()
    await this.console.end(limit)
    mkdirSync(join(this.logPath, '..'), { recursive: true })
    this.console.saveLog(this.logPath)
  }
}

async function powerOff(session) {
  session.console.type('poweroff -f\n')
  // v86 has no power switch: the kernel halts. A guest that does not is ended all the same.
  await session.console.wait(/reboot: (Power down|System halted)/, END_LIMIT_S).catch(() => undefined)
}

/** At Debian's login. */
export async function logInAndPowerOff({ console }) {
  console.type('root\n')
  await console.wait(PROMPT, LOGIN_LIMIT_S)
  console.type('systemctl --no-pager --failed --no-legend --plain; poweroff\n')
  await console.wait(/reboot: Power down/, LOGIN_LIMIT_S)
}

/** Of Nestbox's figures, what the report keeps. */
export function figuresOf(stats) {
  if (!stats) return undefined
  const ns = Object.values(stats.tierNs).reduce((sum, n) => sum + n, 0)
  return {
    instructions: stats.instructions, mips: stats.instructions / (stats.guestRunNs / 1000), guestBytes: stats.residentGuestBytes,
    tierShare: Object.fromEntries(Object.entries(stats.tierNs).map(([tier, n]) => [tier, ns > 0 ? n / ns : 0])), unimplemented: stats.unimplemented,
  }
}
