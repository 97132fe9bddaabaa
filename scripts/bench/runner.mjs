/** The whole run: repetitions, widths, peers in turn; what each gave goes into the results. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestsDir } from '../setup/guests.mjs'
import { root } from '../setup/run.mjs'
import { ensureDebian } from './debian.mjs'
import { BOOTS, PROGRAM_GUEST, TIER0 } from './options.mjs'
import { canRun, titleOf } from './peers.mjs'
import { settled } from './process-figures.mjs'
import { PROGRAMS, PROGRAM_NAMES, buildProgramsInitramfs } from './programs.mjs'
import { Results, withTier0Row } from './results.mjs'
import { Session, figuresOf, logInAndPowerOff } from './sessions.mjs'

const APPEND = 'console=ttyS0 panic=-1'
const DEBIAN_APPEND = 'console=ttyS0 panic=-1 root=/dev/vda rw'
const DEBIAN_LOGIN = /debian login: /
const logsDir = join(root, '.cache/bench/logs')

const rowName = (name, width) => `${name}-${width}`
const progress = (text) => process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)

/** One run of the benchmark. */
export class Runner {
  results = new Results()

  constructor(options) {
    this.options = options
    this.scratch = mkdtempSync(join(tmpdir(), 'nestbox-bench-'))
    process.on('exit', () => rmSync(this.scratch, { recursive: true, force: true }))
    this.boots = Object.entries(BOOTS).filter(([guest, { width }]) => options.widths.includes(width) && options.rows.includes(`boot-${guest}`)).map(([guest]) => guest)
    this.programs = PROGRAM_NAMES.filter((name) => options.rows.includes(name))
    this.idle = options.rows.includes('idle')
    this.debian = options.rows.includes('debian') && options.widths.includes(64)
    this.#declare()
  }

  #peers(needs) {
    return this.options.peers.filter((peer) => canRun(peer, needs))
  }

  /** Who boots a guest: the peers, and tier 0 for its row. */
  #bootPeers(guest) {
    const peers = this.#peers({ width: BOOTS[guest].width })
    return guest === TIER0.guest && peers.includes('nestbox') && !peers.includes(TIER0.peer) ? [...peers, TIER0.peer] : peers
  }

  /** False for tier 0 where it boots for its row alone. */
  #isPeer(peer) {
    return this.options.peers.includes(peer)
  }

  #declare() {
    for (const guest of this.boots) {
      const { width, title } = BOOTS[guest]
      this.results.declare({ name: `boot-${guest}-cold`, title: `${title}, cold boot`, kind: 'boot', width }, this.#bootPeers(guest))
      this.results.declare({ name: `boot-${guest}-warm`, title: `${title}, warm boot`, kind: 'boot', width }, this.#peers({ width }))
      if (this.idle) this.results.declare({ name: `idle-${guest}`, title: `${title}, shell`, kind: 'idle', width }, this.#peers({ width }))
    }
    for (const width of this.options.widths) {
      for (const name of this.programs) this.results.declare({ name: rowName(name, width), title: PROGRAMS[name], kind: 'program', width }, this.#peers({ width }))
    }
    if (!this.debian) return
    const peers = this.#peers({ width: 64, disk: true })
    for (const kind of ['cold', 'warm']) this.results.declare({ name: `debian-${kind}`, title: `Debian 12, systemd, to login, ${kind}`, kind: 'boot', width: 64 }, peers)
    if (this.idle) this.results.declare({ name: 'idle-debian', title: 'Debian 12, systemd, at login', kind: 'idle', width: 64 }, peers)
  }

  /** Runs everything. @returns rows and remarks, and how many rounds there were time for */
  async run() {
    const { repeat, minutes } = this.options
    const until = performance.now() + minutes * 60_000
    let round = 0
    for (; round < repeat && (round === 0 || performance.now() < until); round++) {
      for (const guest of this.boots) await this.#inTurn(round, this.#bootPeers(guest), (peer, where) => this.#bootTwice(peer, guest, where))
      for (const width of this.options.widths) {
        if (this.programs.length > 0) await this.#inTurn(round, this.#peers({ width }), (peer, where) => this.#runPrograms(peer, width, where))
      }
      if (this.debian) await this.#debianRound(round)
    }
    return { rows: withTier0Row(this.results.rows(), TIER0), remarks: this.results.remarks, rounds: round }
  }

  /** Every peer once, each first in its turn, with a state folder of its own. */
  async #inTurn(round, peers, act) {
    for (let i = 0; i < peers.length; i++) {
      const peer = peers[(i + round) % peers.length]
      const stateDir = mkdtempSync(join(this.scratch, 'state-'))
      try {
        await act(peer, { stateDir, round })
        await settled(stateDir)
      } finally {
        rmSync(stateDir, { recursive: true, force: true })
      }
    }
  }

  #session(peer, name, { stateDir, round }, guest) {
    return new Session(peer, { append: APPEND, ...guest, stateDir }, join(logsDir, `${name}-${peer}-${round}.log`))
  }

  async #bootTwice(peer, guest, where) {
    const files = { kernel: join(guestsDir, guest, 'vmlinuz'), initrd: join(guestsDir, guest, 'initrd.gz'), width: BOOTS[guest].width }
    const boot = async (session) => {
      const time = await session.boot()
      await session.prompt()
      return time
    }
    for (const kind of this.#isPeer(peer) ? ['cold', 'warm'] : ['cold']) {
      await this.#measureBoot(peer, `boot-${guest}`, kind, () => this.#session(peer, `boot-${guest}-${kind}`, where, files), boot)
      await settled(where.stateDir)
    }
  }

  /** A boot, and after a cold one the idle row. @param boot waits for the guest and gives {seconds, cpu} */
  async #measureBoot(peer, group, kind, open, boot, shutdown) {
    const name = `${group}-${kind}`
    if (this.results.hasFailed(name, peer)) return
    const session = open()
    const wantsIdle = this.idle && kind === 'cold' && this.#isPeer(peer)
    const idleName = group.startsWith('boot-') ? group.replace('boot-', 'idle-') : `idle-${group}`
    try {
      const time = await boot(session)
      progress(`${titleOf(peer)}: ${name} ${time.seconds.toFixed(2)} s`)
      const idle = wantsIdle ? await session.idle() : undefined
      const figures = await this.#end(session, peer, name, shutdown)
      this.results.add(name, peer, time.seconds, { cpu: time.cpu, detail: figures })
      if (idle) this.results.add(idleName, peer, idle.cpuShare, { detail: { residentBytes: idle.residentBytes, guestBytes: figures?.guestBytes ?? idle.guestBytes } })
    } catch (error) {
      await this.#lost(session, peer, [name], error.message)
      if (wantsIdle) this.results.fail(idleName, peer, error.message)
    }
  }

  /** Switches the guest off. One that does not obey is worth a remark; its times stand. */
  async #end(session, peer, name, shutdown) {
    try {
      return figuresOf(await session.end(shutdown))
    } catch (error) {
      await session.close()
      this.results.remark(`${titleOf(peer)}: ${name} did not switch off (${session.logPath}): ${error.message.slice(0, 200)}`)
      return undefined
    }
  }

  async #lost(session, peer, names, message) {
    await session.close()
    for (const name of names) this.results.fail(name, peer, message)
    progress(`${titleOf(peer)}: ${names.join(', ')} FAILED (${session.logPath}): ${message.slice(0, 300)}`)
  }

  /** The programs in one guest; after one that did not end, the rest in a new guest. */
  async #runPrograms(peer, width, where) {
    const guest = PROGRAM_GUEST[width]
    const files = { width, kernel: join(guestsDir, guest, 'vmlinuz'), initrd: buildProgramsInitramfs(width, join(guestsDir, guest, 'initrd.gz')) }
    let left = this.programs.filter((name) => !this.results.hasFailed(rowName(name, width), peer))
    for (let start = 0; left.length > 0; start++) {
      const session = this.#session(peer, `programs-${width}-${start}`, where, files)
      try {
        await session.boot()
        await session.prompt()
      } catch (error) {
        return this.#lost(session, peer, left.map((name) => rowName(name, width)), error.message)
      }
      const failed = await session.programs(left, this.options.limit, (name, time, result) => this.#record(peer, rowName(name, width), time, result))
      if (!failed) return this.#finishPrograms(session, peer)
      await this.#lost(session, peer, [rowName(failed.name, width)], failed.message)
      left = left.slice(left.indexOf(failed.name) + 1)
    }
  }

  #record(peer, name, { seconds, cpu }, result) {
    if (result.startsWith('failed')) this.results.fail(name, peer, result)
    else this.results.add(name, peer, seconds, { cpu, result })
    progress(`${titleOf(peer)}: ${name} ${seconds.toFixed(2)} s, ${result}`)
  }

  async #finishPrograms(session, peer) {
    const remarks = await session.remarks().catch((error) => [error.message])
    for (const remark of remarks) this.results.remark(`${titleOf(peer)}: ${remark}`)
    await session.end()
  }

  async #debianRound(round) {
    const cloud = join(guestsDir, 'amd64-cloud')
    let debian
    try {
      debian = ensureDebian(join(cloud, 'initrd.gz'))
    } catch (error) {
      for (const peer of this.#peers({ width: 64, disk: true })) {
        for (const name of ['debian-cold', 'debian-warm', ...(this.idle ? ['idle-debian'] : [])]) this.results.fail(name, peer, error.message)
      }
      return progress(`no Debian image: ${error.message}`)
    }
    await this.#inTurn(round, this.#peers({ width: 64, disk: true }), (peer, where) => this.#debianTwice(peer, where, { debian, kernel: join(cloud, 'vmlinuz') }))
  }

  async #debianTwice(peer, where, { debian, kernel }) {
    const disk = join(where.stateDir, 'disk.img')
    const open = (kind) => () => {
      // Each start has the disk as it was built.
      execFileSync('cp', ['--sparse=always', '--reflink=auto', debian.image, disk])
      return this.#session(peer, `debian-${kind}`, where, { width: 64, kernel, initrd: debian.initrd, append: DEBIAN_APPEND, disk })
    }
    const boot = (session) => session.boot(DEBIAN_LOGIN)
    for (const kind of ['cold', 'warm']) {
      await this.#measureBoot(peer, 'debian', kind, open(kind), boot, logInAndPowerOff)
      await settled(where.stateDir)
    }
    const { status } = spawnSync('e2fsck', ['-fn', disk], { stdio: 'ignore' })
    if (status !== 0 && !this.results.hasFailed('debian-warm', peer)) this.results.remark(`${titleOf(peer)}: e2fsck finds errors on Debian's disk after its shutdown`)
  }
}
