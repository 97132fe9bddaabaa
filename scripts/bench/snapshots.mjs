/** `npm run bench -- snapshots`: saving and continuing a running 512 MiB machine, beside QEMU's savevm and loadvm on qcow2. */
import { execFileSync, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guestsDir } from '../setup/guests.mjs'
import { root } from '../setup/run.mjs'
import { diskFigures, managerFigures } from './manager-figures.mjs'
import { median } from './statistics.mjs'

const MARKER = 'NESTBOX-SHELL-READY'
const GUEST = 'amd64-cloud'
const UUID = '00000000-0000-4000-8000-000000000001'
const MEMORY_MIB = 512
const TIMEOUT_MS = 180_000
/** Half of it compresses, half does not: a guest that has done something. */
const FILL = 'mkdir -p /t; mount -t tmpfs tmpfs /t; dd if=/dev/urandom of=/t/a bs=1M count=48 2>/dev/null; ' +
  'i=0; while [ $i -lt 48 ]; do cat /bin/busybox; i=$((i+1)); done | head -c 50331648 > /t/b; echo FIL""LED'
const files = { kernel: join(guestsDir, GUEST, 'vmlinuz'), initrd: join(guestsDir, GUEST, 'initrd.gz') }

/** Text of a console that can be waited for. */
class Text {
  text = ''
  waiting = []

  add(more) {
    this.text += more
    for (const check of [...this.waiting]) check()
  }

  wait(pattern, from = 0) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${pattern} did not come: ${this.text.slice(-400)}`)), TIMEOUT_MS)
      const check = () => {
        if (!pattern.test(this.text.slice(from))) return
        clearTimeout(timer)
        this.waiting = this.waiting.filter((other) => other !== check)
        resolve(performance.now())
      }
      this.waiting.push(check)
      check()
    })
  }
}

class Nestbox {
  console = new Text()
  waiting = new Map()

  /** @param waitMs how long the process waits for the click, as one started ahead does; 0: it is started by the click */
  constructor(savedState, waitMs = 0) {
    this.started = performance.now()
    this.child = fork(join(root, 'out/main/vm-host.cjs'), [], { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.child.on('message', (message) => this.receive(message, () => void this.launch(savedState, waitMs)))
    this.ended = new Promise((resolve) => this.child.on('close', resolve))
  }

  async launch(savedState, waitMs) {
    if (waitMs > 0) {
      await sleep(waitMs)
      this.started = performance.now()
    }
    this.child.send({ type: 'launch', config: {
      name: 'bench', uuid: UUID, generationId: UUID, memoryMiB: MEMORY_MIB, cpuProfile: 'nestbox64', ...files,
      commandLine: 'console=ttyS0 panic=-1', disks: [], onReset: 'stop', maxTier: 2, logDir: tmpdir(), translationsDir: this.constructor.translationsDir, workingSetsDir: this.constructor.workingSetsDir,
      ...(savedState ? { savedState } : {}),
    } })
  }

  receive(message, ready) {
    if (message.type === 'ready') ready()
    if (message.type === 'output') {
      this.console.add(Buffer.from(message.bytes).toString('latin1'))
      this.child.send({ type: 'ack', port: message.port, count: message.bytes.length })
    }
    const isTrouble = message.type === 'refused' || message.type === 'save-failed' || message.type === 'blocked' || (message.type === 'log' && message.level === 'error')
    if (isTrouble) throw new Error(message.message ?? message.text)
    this.waiting.get(message.type)?.({ message, at: performance.now() })
  }

  next(type) {
    return new Promise((resolve) => this.waiting.set(type, resolve))
  }

  type(text) {
    this.child.send({ type: 'input', port: 'ttyS0', bytes: new Uint8Array(Buffer.from(text)) })
  }

  async save(path, then, base) {
    const saved = this.next('saved')
    this.child.send({ type: 'save', path, then, copies: [], ...(base ? { base } : {}) })
    return (await saved).message.figures
  }

  async stop() {
    this.child.send({ type: 'stop' })
    await this.ended
  }
}

async function fillAndSettle(machine) {
  await machine.console.wait(new RegExp(`${MARKER}[\\s\\S]*# `))
  machine.type(`${FILL}\n`)
  await machine.console.wait(/FILLED/)
  await sleep(2000)
}

async function echo(machine, word) {
  const from = machine.console.text.length
  machine.type(`echo "${word[0]}""${word.slice(1)}"\n`)
  return machine.console.wait(new RegExp(word), from)
}

async function benchNestbox(dir, repeat) {
  Nestbox.translationsDir = join(dir, 'translations')
  Nestbox.workingSetsDir = join(dir, 'working-sets')
  const samples = []
  const path = join(dir, 'state.nbs')
  const machine = new Nestbox()
  await fillAndSettle(machine)
  for (let i = 0; i < repeat; i++) {
    // The guest works while its memory is written.
    machine.type('i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo BUS""Y\n')
    await sleep(200)
    const live = await machine.save(join(dir, `live${i}.nbs`), 'go-on')
    await machine.console.wait(new RegExp(`(BUSY[\\s\\S]*){${i + 1}}`))
    samples.push({ livePauseMs: live.pauseMs, liveMs: live.ms, liveCopied: live.copiedPages })
  }
  await sleep(1000)
  const suspended = await machine.save(path, 'end')
  await machine.ended
  for (const sample of samples) {
    Object.assign(sample, { suspendMs: suspended.ms, fileMiB: suspended.fileBytes / 2 ** 20, memoryMiB: suspended.memoryBytes / 2 ** 20 })
    for (const [waitMs, kind] of [[0, 'new'], [1500, 'ready']]) {
      const copy = new Nestbox({ path, memoryDir: dir, use: 'restore' }, waitMs)
      const { message, at } = await copy.next('running')
      Object.assign(sample, { [`${kind}RunningMs`]: at - copy.started, [`${kind}RestoredMs`]: message.restoredMs })
      sample[`${kind}AnswerMs`] = await echo(copy, 'HERE') - copy.started
      await copy.stop()
    }
  }
  return samples
}

class Qemu {
  console = new Text()
  monitor = new Text()

  constructor(dir, more = []) {
    this.started = performance.now()
    const args = ['-accel', 'tcg', '-m', String(MEMORY_MIB), '-display', 'none', '-kernel', files.kernel, '-initrd', files.initrd, '-append', 'console=ttyS0 panic=-1',
      '-drive', `if=none,id=d,format=qcow2,file=${join(dir, 'qemu.qcow2')}`, '-device', 'virtio-blk-pci,drive=d', '-serial', 'stdio', '-monitor', 'pipe:' + join(dir, 'mon'), ...more]
    this.child = spawn('qemu-system-x86_64', args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.child.stdout.on('data', (chunk) => this.console.add(chunk.toString('latin1')))
    this.ended = new Promise((resolve) => this.child.on('close', resolve))
    this.commands = spawn('sh', ['-c', `cat > ${join(dir, 'mon.in')}`], { stdio: ['pipe', 'ignore', 'ignore'] })
    this.answers = spawn('cat', [join(dir, 'mon.out')], { stdio: ['ignore', 'pipe', 'ignore'] })
    this.answers.stdout.on('data', (chunk) => this.monitor.add(chunk.toString('latin1')))
  }

  type(text) {
    this.child.stdin.write(text)
  }

  /** Milliseconds until the monitor's next prompt. */
  async command(text) {
    await this.monitor.wait(/\(qemu\) $/)
    const from = this.monitor.text.length
    const start = performance.now()
    this.commands.stdin.write(`${text}\n`)
    return await this.monitor.wait(/\(qemu\) $/, from) - start
  }

  async stop() {
    this.child.kill('SIGKILL')
    this.commands.kill()
    this.answers.kill()
    await this.ended
  }
}

async function benchQemu(dir, repeat) {
  for (const end of ['in', 'out']) execFileSync('mkfifo', [join(dir, `mon.${end}`)])
  const image = join(dir, 'qemu.qcow2')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '64M'])
  const samples = []
  const machine = new Qemu(dir)
  await fillAndSettle(machine)
  for (let i = 0; i < repeat; i++) {
    const saveMs = await machine.command(`savevm s${i}`)
    samples.push({ saveMs, loadSameMs: await machine.command(`loadvm s${i}`) })
    if (i === 0) samples[0].fileMiB = statSync(image).blocks * 512 / 2 ** 20
  }
  await machine.stop()
  for (const [i, sample] of samples.entries()) {
    const copy = new Qemu(dir, ['-loadvm', `s${i}`])
    await copy.monitor.wait(/\(qemu\) $/)
    sample.promptMs = performance.now() - copy.started
    sample.answerMs = await echo(copy, 'HERE') - copy.started
    await copy.stop()
  }
  return samples
}

/** @returns figures of both, medians and samples */
export async function benchSnapshots(repeat) {
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-bench-'))
  try {
    const nestbox = await benchNestbox(dir, repeat)
    const qemu = await benchQemu(dir, repeat)
    const app = await managerFigures(dir, files, MEMORY_MIB, repeat, () => new Text(), fillAndSettle)
    const disk = await diskFigures(dir, files, MEMORY_MIB, repeat, () => new Text())
    const all = { nestbox, qemu, app, disk }
    return { ...Object.fromEntries(Object.entries(all).map(([who, samples]) => [who, mediansOf(samples)])), samples: all }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function mediansOf(samples) {
  const fields = new Set(samples.flatMap((sample) => Object.keys(sample)))
  return Object.fromEntries([...fields].map((field) => [field, median(samples.map((sample) => sample[field]).filter((value) => value !== undefined))]))
}

/** The figures as a Markdown table. */
export function snapshotsTable({ nestbox, qemu, app, disk }) {
  const ms = (value) => `${value.toFixed(0)} ms`
  return `| ${GUEST}, ${MEMORY_MIB} MiB, ${nestbox.memoryMiB.toFixed(0)} MiB in use | Nestbox | QEMU TCG |
|---|---:|---:|
| guest stands while a snapshot is taken | ${ms(nestbox.livePauseMs)} | ${ms(qemu.saveMs)} (savevm) |
| snapshot written, guest busy meanwhile | ${ms(nestbox.liveMs)} | – |
| suspended (state written, machine ended) | ${ms(nestbox.suspendMs)} | ${ms(qemu.saveMs)} |
| size on disk | ${nestbox.fileMiB.toFixed(1)} MiB | ${qemu.fileMiB.toFixed(1)} MiB |
| continued in a running process | – | ${ms(qemu.loadSameMs)} (loadvm) |
| process that waited to the guest running | ${ms(nestbox.readyRunningMs)} | – |
| … to the shell's answer | ${ms(nestbox.readyAnswerMs)} | – |
| new process to the guest running | ${ms(nestbox.newRunningMs)} | ${ms(qemu.promptMs)} |
| … of that, restoring | ${ms(nestbox.newRestoredMs)} | – |
| … to the shell's answer | ${ms(nestbox.newAnswerMs)} | ${ms(qemu.answerMs)} |
| **in the app, from the call to its answer** | | |
| machine without a state: guest running | ${ms(app.bootMs)} | – |
| suspended machine: guest running | ${ms(app.resumeMs)} | – |
| back to a snapshot: guest running | ${ms(app.backMs)} | – |
| fork: both running | ${ms(app.forkMs)} | – |
| … the parent stood for | ${ms(app.forkPauseMs)} | – |
| machine from a template with a booted state | ${ms(app.madeMs)} | – |
| … and its guest running | ${ms(app.madeStartedMs)} | – |
| next snapshot, little changed since | ${ms(app.nextMs)}, ${app.nextMiB.toFixed(1)} MiB | – |
| suspended, little changed since the last snapshot | ${ms(app.suspendSmallMs)} | – |
| **in the app, 1 GiB of data on the disk and the guest writing** | | |
| guest stands while a snapshot is taken | ${ms(disk.diskPauseMs)} | – |
| … until it is written | ${ms(disk.diskSnapshotMs)} | – |
| back to a snapshot: guest running | ${ms(disk.diskBackMs)} | – |
| fork: both running | ${ms(disk.diskForkMs)} | – |
| … the parent stood for | ${ms(disk.diskForkPauseMs)} | – |
`
}
