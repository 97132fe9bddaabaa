/** `npm run bench -- snapshots`: saving and continuing a running 512 MiB machine, beside QEMU's savevm and loadvm on qcow2. */
import { execFileSync, fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guestsDir } from '../setup/guests.mjs'
import { root } from '../setup/run.mjs'
import { median } from './statistics.mjs'

const MARKER = 'NESTBOX-SHELL-READY'
const GUEST = 'amd64-cloud'
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

  constructor(savedState) {
    this.started = performance.now()
    this.child = fork(join(root, 'out/main/vm-host.cjs'), [], { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.child.on('message', (message) => this.receive(message, savedState))
    this.ended = new Promise((resolve) => this.child.on('close', resolve))
  }

  receive(message, savedState) {
    if (message.type === 'ready') {
      this.child.send({ type: 'launch', config: {
        name: 'bench', uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: MEMORY_MIB, cpuProfile: 'nestbox64', ...files,
        commandLine: 'console=ttyS0 panic=-1', disks: [], onReset: 'stop', maxTier: 2, logDir: tmpdir(), ...(savedState ? { savedState } : {}),
      } })
    }
    if (message.type === 'output') {
      this.console.add(Buffer.from(message.bytes).toString('latin1'))
      this.child.send({ type: 'ack', port: message.port, count: message.bytes.length })
    }
    if (message.type === 'refused' || message.type === 'save-failed') throw new Error(message.message)
    this.waiting.get(message.type)?.({ message, at: performance.now() })
  }

  next(type) {
    return new Promise((resolve) => this.waiting.set(type, resolve))
  }

  type(text) {
    this.child.send({ type: 'input', port: 'ttyS0', bytes: new Uint8Array(Buffer.from(text)) })
  }

  async save(path, then) {
    const saved = this.next('saved')
    this.child.send({ type: 'save', path, then, copies: [] })
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
  const suspended = await machine.save(path, 'end')
  await machine.ended
  for (const sample of samples) {
    const copy = new Nestbox({ path, use: 'restore' })
    const { message, at } = await copy.next('running')
    Object.assign(sample, { runningMs: at - copy.started, restoredMs: message.restoredMs })
    sample.answerMs = await echo(copy, 'HERE') - copy.started
    sample.suspendMs = suspended.ms
    sample.fileMiB = suspended.fileBytes / 2 ** 20
    sample.memoryMiB = suspended.memoryBytes / 2 ** 20
    await copy.stop()
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
    const of = (samples, field) => median(samples.map((sample) => sample[field]).filter((value) => value !== undefined))
    const pick = (samples, fields) => Object.fromEntries(fields.map((field) => [field, of(samples, field)]))
    return {
      nestbox: pick(nestbox, ['livePauseMs', 'liveMs', 'liveCopied', 'suspendMs', 'runningMs', 'restoredMs', 'answerMs', 'fileMiB', 'memoryMiB']),
      qemu: pick(qemu, ['saveMs', 'loadSameMs', 'promptMs', 'answerMs', 'fileMiB']), samples: { nestbox, qemu },
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The figures as a Markdown table. */
export function snapshotsTable({ nestbox, qemu }) {
  const ms = (value) => `${value.toFixed(0)} ms`
  return `| ${GUEST}, ${MEMORY_MIB} MiB, ${nestbox.memoryMiB.toFixed(0)} MiB in use | Nestbox | QEMU TCG |
|---|---:|---:|
| guest stands while a snapshot is taken | ${ms(nestbox.livePauseMs)} | ${ms(qemu.saveMs)} (savevm) |
| snapshot written, guest busy meanwhile | ${ms(nestbox.liveMs)} | – |
| suspended (state written, machine ended) | ${ms(nestbox.suspendMs)} | ${ms(qemu.saveMs)} |
| continued in a running process | – | ${ms(qemu.loadSameMs)} (loadvm) |
| new process to the guest running | ${ms(nestbox.runningMs)} | ${ms(qemu.promptMs)} |
| of that, restoring | ${ms(nestbox.restoredMs)} | – |
| new process to the shell's answer | ${ms(nestbox.answerMs)} | ${ms(qemu.answerMs)} |
| size on disk | ${nestbox.fileMiB.toFixed(1)} MiB | ${qemu.fileMiB.toFixed(1)} MiB |
`
}
