/** What a click costs in the app: machines started, suspended, forked and made from templates, through the manager. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { root } from '../setup/run.mjs'

/** From one machine that runs to the process that waits for the next one. */
const SPARE_MS = 2500

async function openManager(dir) {
  mkdirSync(dir, { recursive: true })
  const outfile = join(dir, 'manager.mjs')
  const banner = { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" }
  await build({ entryPoints: [join(root, 'src/main/services/manager.ts')], outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'warning', banner })
  const { createManager } = await import(pathToFileURL(outfile).href)
  const manager = await createManager({ home: join(dir, 'library'), vmHostEntry: join(root, 'out/main/vm-host.cjs'), spareProcesses: 1 })
  const texts = new Map()
  const client = manager.connect((name, payload) => {
    if (name !== 'console.data') return
    texts.get(payload.consoleId)?.add(payload.text)
    void client.call('console.ack', { consoleId: payload.consoleId, bytes: payload.bytes })
  })
  const call = async (name, params) => {
    const outcome = await client.call(name, params)
    if (!outcome.ok) throw new Error(`${name}: ${outcome.error.message}`)
    return outcome.result
  }
  return { manager, call, texts }
}

/** Milliseconds from the call to its answer: then the guest runs. */
async function timed(work) {
  const start = performance.now()
  const result = await work()
  return { ms: performance.now() - start, result }
}

/** What the second machine has on its disk, and what its guest overwrites of it all the time. */
const DISK_MIB = 1024
const WRITING = 'mkdir -p /w; mount -t tmpfs tmpfs /w; dd if=/dev/urandom of=/w/a bs=1M count=8 2>/dev/null; ' +
  '(k=0; while :; do k=$(((k+37)%1000)); dd if=/w/a of=/dev/vda bs=1M seek=$k count=8 conv=notrunc,fsync 2>/dev/null; sleep 0.1; done) & echo WRI""TING\n'

async function diskWithData(path) {
  await writeFile(`${path}.raw`, '')
  const file = await open(`${path}.raw`, 'r+')
  for (let i = 0; i < DISK_MIB; i++) await file.write(randomBytes(1 << 20))
  await file.truncate(4 * DISK_MIB << 20)
  await file.close()
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', `${path}.raw`, path])
  await rm(`${path}.raw`)
  execFileSync('sync')
}

/** Of a machine whose disk has much to be copied, and whose guest writes. @returns samples, one a round */
export async function diskFigures(dir, files, memoryMiB, repeat, makeText) {
  const disk = join(dir, 'data.qcow2')
  await diskWithData(disk)
  const { manager, call, texts } = await openManager(join(dir, 'of-disks'))
  try {
    const { id } = await call('machine.create', { settings: { name: 'disk', memoryMiB, ...files, commandLine: 'console=ttyS0 panic=-1', onReset: 'stop', disks: [{ path: disk, format: 'qcow2', readOnly: false }] } })
    const console = makeText()
    texts.set((await call('console.open', { id, port: 'ttyS0' })).consoleId, console)
    await call('machine.start', { id })
    await console.wait(/NESTBOX-SHELL-READY[\s\S]*# /)
    await call('console.write', { id, port: 'ttyS0', text: WRITING })
    await console.wait(/WRITING/)
    const samples = []
    for (let i = 0; i < repeat; i++) {
      await sleep(SPARE_MS)
      const fork = await timed(() => call('machine.fork', { id, name: `fork ${i}` }))
      await call('machine.forceStop', { id: fork.result.id })
      await call('machine.delete', { id: fork.result.id })
      await sleep(SPARE_MS)
      const taken = await timed(() => call('snapshot.take', { id, name: `s ${i}` }))
      const back = await timed(() => call('snapshot.restore', { id, snapshotId: taken.result.id, keepCurrent: false, start: true }))
      samples.push({ diskForkMs: fork.ms, diskForkPauseMs: fork.result.pauseMs, diskSnapshotMs: taken.ms, diskPauseMs: taken.result.pauseMs, diskBackMs: back.ms })
    }
    return samples
  } finally {
    await manager.shutdown('stop')
  }
}

/**
 * @param prepare brings a machine that boots to where it is measured; gets its console's text and `type`
 * @returns samples, one a round
 */
export async function managerFigures(dir, files, memoryMiB, repeat, makeText, prepare) {
  const { manager, call, texts } = await openManager(dir)
  try {
    const settings = { name: 'bench', memoryMiB, ...files, commandLine: 'console=ttyS0 panic=-1', onReset: 'stop' }
    const { id } = await call('machine.create', { settings })
    const console = makeText()
    texts.set((await call('console.open', { id, port: 'ttyS0' })).consoleId, console)
    await sleep(SPARE_MS)
    const boot = await timed(() => call('machine.start', { id }))
    await prepare({ console, type: (text) => call('console.write', { id, port: 'ttyS0', text }) })
    await call('template.create', { id, name: 'template' })
    const template = (await call('template.list', {}))[0].id
    const samples = []
    for (let i = 0; i < repeat; i++) samples.push(await round(call, id, template, i))
    return samples.map((sample, i) => (i === 0 ? { ...sample, bootMs: boot.ms } : sample))
  } finally {
    await manager.shutdown('stop')
  }
}

async function round(call, id, template, i) {
  const gone = async (machine) => {
    await call('machine.forceStop', { id: machine })
    await call('machine.delete', { id: machine })
    await sleep(SPARE_MS)
  }
  await sleep(SPARE_MS)
  const fork = await timed(() => call('machine.fork', { id, name: `fork ${i}` }))
  await gone(fork.result.id)
  const full = await timed(() => call('snapshot.take', { id, name: `s ${i}` }))
  const next = await timed(() => call('snapshot.take', { id, name: `n ${i}` }))
  const back = await timed(() => call('snapshot.restore', { id, snapshotId: next.result.id, keepCurrent: false, start: true }))
  await sleep(SPARE_MS)
  const suspend = await timed(() => call('machine.suspend', { id }))
  await sleep(SPARE_MS)
  const resume = await timed(() => call('machine.start', { id }))
  await sleep(SPARE_MS)
  const made = await timed(() => call('machine.create', { settings: { name: `made ${i}` }, template, linked: true, withState: true }))
  const started = await timed(() => call('machine.start', { id: made.result.id }))
  await gone(made.result.id)
  return {
    forkMs: fork.ms, forkPauseMs: fork.result.pauseMs, snapshotMs: full.ms, nextMs: next.ms, nextMiB: next.result.bytes / 2 ** 20, backMs: back.ms,
    suspendSmallMs: suspend.ms, resumeMs: resume.ms, madeMs: made.ms, madeStartedMs: started.ms,
  }
}
