import { mkdtempSync, rmSync } from 'node:fs'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { buildSync } from 'esbuild'
import { afterAll, expect, it } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'nestbox-priority-'))
afterAll(() => rmSync(folder, { recursive: true }))

it.runIf(process.platform === 'linux')('puts the calling thread behind the others of its process', async () => {
  const program = join(folder, 'worker.cjs')
  const contents = `import { getPriority } from 'node:os'
    import { parentPort } from 'node:worker_threads'
    import { giveWayToGuest } from './thread-priority'
    giveWayToGuest()
    parentPort.postMessage(getPriority())`
  buildSync({ stdin: { contents, resolveDir: import.meta.dirname, loader: 'ts' }, bundle: true, platform: 'node', format: 'cjs', outfile: program })
  const before = getPriority()
  const worker = new Worker(program)
  const priority = await new Promise((resolve) => worker.once('message', resolve))
  await worker.terminate()
  expect(priority).toBe(Math.min(before + 7, 19))
  expect(getPriority()).toBe(before)
})
