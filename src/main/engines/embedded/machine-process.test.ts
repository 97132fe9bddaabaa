import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import type { LaunchConfig } from '../../vm-host/protocol'
import { MachineProcess, type ProcessEnd } from './machine-process'
import { startProcess } from './spare-processes'

const dir = mkdtempSync(join(tmpdir(), 'nestbox-process-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Says something, and a moment later that its machine is off; then it is gone. */
const SHORT = `process.on('message', ({ type }) => {
  if (type !== 'launch') return
  process.send({ type: 'log', level: 'info', text: 'nearly over' }, () => setTimeout(() => {
    process.send({ type: 'stopped', reason: { kind: 'power-off' } })
    process.disconnect()
  }, 50))
})
process.send({ type: 'ready' })`

it('ends as it said, also where it was spoken to when it was gone', async () => {
  const entry = join(dir, 'short.cjs')
  writeFileSync(entry, SHORT)
  const ends: ProcessEnd[] = []
  const machine = new MachineProcess({
    process: startProcess(entry), config: {} as LaunchConfig,
    events: {
      onHeartbeat: () => undefined, onOutput: () => undefined, onEnd: (end) => ends.push(end),
      onLog: () => {
        // Busy until the process has ended, which is only seen after this.
        execFileSync('sleep', ['0.5'])
        machine.send({ type: 'pause' })
      },
    },
  })
  await machine.gone
  expect(ends).toEqual([{ kind: 'power-off' }])
})
