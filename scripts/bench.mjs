/** `npm run bench [-- boot|snapshots]`: figures against real peers, taken in one run, alternating, medians of several. */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { benchSnapshots, printSnapshots } from './bench/snapshots.mjs'
import { ensureNpmPackages } from './setup/npm.mjs'
import { ensureGuests, guestsDir } from './setup/guests.mjs'
import { root, run, say } from './setup/run.mjs'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { repeat: { type: 'string', default: '3' }, output: { type: 'string' } } })
const repeat = Number(values.repeat)
const MARKER = 'NESTBOX-SHELL-READY'
const TIMEOUT_MS = 180_000
const IDLE_SECONDS = 5
const CLOCK_TICKS = 100

const kernelArgs = (guest) => ({ kernel: join(guestsDir, guest, 'vmlinuz'), initrd: join(guestsDir, guest, 'initrd.gz') })
const APPEND = 'console=ttyS0 panic=-1'

const PEERS = {
  nestbox: (guest, profile) => {
    const { kernel, initrd } = kernelArgs(guest)
    return [process.execPath, [join(root, 'out/cli/nestbox.cjs'), 'run', '--kernel', kernel, '--initrd', initrd, '--append', APPEND, '--memory', '512', '--cpu-profile', profile, '--no-reboot', '--stats', join(root, '.cache', 'bench-stats.json')]]
  },
  'qemu-tcg': (guest, profile) => {
    const { kernel, initrd } = kernelArgs(guest)
    const system = profile === 'nestbox32' ? 'qemu-system-i386' : 'qemu-system-x86_64'
    return [system, ['-accel', 'tcg', '-m', '512', '-nographic', '-no-reboot', '-kernel', kernel, '-initrd', initrd, '-append', APPEND]]
  },
}

/** CPU seconds and resident bytes of a process, from /proc. */
function processFigures(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const rss = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0'
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS, rssBytes: Number(rss) * 1024 }
}

/** Boots once. @returns seconds from process start to the shell, idle CPU share and resident memory */
async function bootOnce([command, args]) {
  const started = performance.now()
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
  let text = ''
  const shell = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${command} gave no shell in ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS)
    child.stdout.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (!text.includes(MARKER)) return
      clearTimeout(timer)
      resolve(performance.now())
    })
    child.on('exit', (code) => reject(new Error(`${command} ended with ${code}: ${text.slice(-500)}`)))
  })
  try {
    const ready = await shell
    await sleep(3000)
    const before = processFigures(child.pid)
    await sleep(IDLE_SECONDS * 1000)
    const after = processFigures(child.pid)
    return { seconds: (ready - started) / 1000, idle: (after.cpuSeconds - before.cpuSeconds) / IDLE_SECONDS, rssMiB: after.rssBytes / 2 ** 20 }
  } finally {
    child.removeAllListeners('exit')
    child.stdin.write('poweroff -f\n')
    const ended = new Promise((resolve) => child.on('close', resolve))
    await Promise.race([ended, sleep(5000)])
    child.kill('SIGKILL')
  }
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]

async function benchBoot() {
  const rows = []
  for (const [guest, profile] of [['amd64-cloud', 'nestbox64'], ['amd64', 'nestbox64'], ['i386', 'nestbox32']]) {
    const samples = { nestbox: [], 'qemu-tcg': [] }
    try {
      for (let i = 0; i < repeat; i++) {
        for (const [peer, make] of Object.entries(PEERS)) samples[peer].push(await bootOnce(make(guest, profile)))
      }
    } catch (error) {
      say(`${guest}: ${error.message}`)
      rows.push({ guest, error: error.message })
      continue
    }
    const of = (peer, field) => median(samples[peer].map((s) => s[field]))
    const stats = JSON.parse(readFileSync(join(root, '.cache', 'bench-stats.json'), 'utf8'))
    rows.push({
      guest, nestboxSeconds: of('nestbox', 'seconds'), qemuSeconds: of('qemu-tcg', 'seconds'),
      ratio: of('nestbox', 'seconds') / of('qemu-tcg', 'seconds'), mips: stats.instructions / (stats.guestRunNs / 1000),
      nestboxIdle: of('nestbox', 'idle'), qemuIdle: of('qemu-tcg', 'idle'), nestboxRssMiB: of('nestbox', 'rssMiB'), qemuRssMiB: of('qemu-tcg', 'rssMiB'), samples,
    })
  }
  return rows
}

function printBoot(rows) {
  const n = (value, digits = 1) => value.toFixed(digits)
  const lines = ['| guest | Nestbox | QEMU TCG | ratio | MIPS | idle CPU, % of a core | resident, MiB |', '|---|---|---|---|---|---|---|']
  for (const r of rows) {
    lines.push(r.error ? `| ${r.guest} | ${r.error.split('\n')[0]} | | | | | |`
      : `| ${r.guest} | ${n(r.nestboxSeconds)} s | ${n(r.qemuSeconds)} s | ${n(r.ratio, 2)} | ${n(r.mips, 0)} | ${n(r.nestboxIdle * 100)} / ${n(r.qemuIdle * 100)} | ${n(r.nestboxRssMiB, 0)} / ${n(r.qemuRssMiB, 0)} |`)
  }
  process.stdout.write(`\n${lines.join('\n')}\n`)
}

const wanted = positionals[0] ?? 'boot'
if (wanted !== 'boot' && wanted !== 'snapshots') {
  say(`there is no benchmark '${wanted}'; known: boot, snapshots`)
  process.exit(2)
}
ensureNpmPackages()
ensureGuests()
run('node', ['scripts/build.mjs', '--node-only'])
const rows = wanted === 'boot' ? await benchBoot() : await benchSnapshots(repeat)
if (wanted === 'boot') printBoot(rows)
else printSnapshots(rows)
const report = { when: new Date().toISOString(), cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, repeat, [wanted]: rows }
mkdirSync(join(root, '.cache', 'reports'), { recursive: true })
const file = values.output ?? join(root, '.cache', 'reports', `bench-${wanted}.json`)
writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
say(`figures saved in ${file}`)
process.exit(0)
