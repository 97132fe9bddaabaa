import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { CallName, CallParams, CallResult, Machine } from '../../src/preload/contract'
import { createManager, type Manager } from '../../src/main/services/manager'
import { buildVmHost } from '../fixtures/build-vm-host'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** Answers every byte with how many came so far, from a register and from memory: A a, B b, … First it fills 24 MiB. */
const TALLY = `
  cld
  mov rdi, 0x2000000
  mov ecx, 24 * 1048576 / 8
  mov rax, 0x0123456789abcdef
fill:
  imul rax, rax, 1103515245
  inc rax
  stosq
  loop fill
  mov r14, 0x4000000
  xor r15d, r15d
  mov dx, 0x3f8
  mov al, '!'
  out dx, al
again:
  mov dx, 0x3fd
  in al, dx
  test al, 1
  jz again
  mov dx, 0x3f8
  in al, dx
  inc r15d
  inc dword [r14]
  mov al, r15b
  add al, 'A' - 1
  out dx, al
  mov al, [r14]
  add al, 'a' - 1
  out dx, al
  jmp again`

describe('suspend and resume', () => {
  let home: string
  let vmHostEntry: string
  let kernel: Uint8Array
  let manager: Manager
  let said = ''
  let call: <N extends CallName>(name: N, params: CallParams<N>) => Promise<CallResult<N>>

  beforeAll(() => {
    vmHostEntry = buildVmHost()
    kernel = buildTinyKernel(TALLY)
  })

  async function open(): Promise<void> {
    manager = await createManager({ home, vmHostEntry })
    const client = manager.connect((name, payload) => {
      if (name === 'console.data') said += (payload as { text: string }).text
    })
    call = async (name, params) => {
      const outcome = await client.call(name, params)
      if (!outcome.ok) throw Object.assign(new Error(outcome.error.message), outcome.error)
      return outcome.result as never
    }
  }

  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-suspend-'))
    said = ''
    writeFileSync(join(home, 'tally.bin'), kernel)
    await open()
  })

  afterEach(async () => {
    await manager.shutdown()
    rmSync(home, { recursive: true, force: true })
  })

  async function until(what: string, condition: () => boolean): Promise<void> {
    const end = Date.now() + 60_000
    while (!condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for ${what}; the console said ${JSON.stringify(said)}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async function started(): Promise<Machine> {
    const machine = await call('machine.create', { settings: { name: 'tally', kernel: join(home, 'tally.bin'), memoryMiB: 96, onReset: 'stop' } })
    await call('console.open', { id: machine.id, port: 'ttyS0' })
    await call('machine.start', { id: machine.id })
    await until('the guest', () => said.includes('!'))
    return machine
  }

  async function type(id: string, answer: string): Promise<void> {
    await call('console.write', { id, port: 'ttyS0', text: 'x' })
    await until(answer, () => said.endsWith(answer))
  }

  const savedFolder = (id: string): string => join(home, 'machines', id, 'saved')
  const stateOf = async (id: string): Promise<string> => (await call('machine.get', { id })).state

  it('goes on in another process, with registers and memory', async () => {
    const { id } = await started()
    await type(id, 'Aa')
    await type(id, 'Bb')
    const first = (await call('machine.get', { id })).pid
    const figures = await call('machine.suspend', { id })
    expect(figures.memoryBytes).toBeGreaterThan(24 << 20)
    const saved = await call('machine.get', { id })
    expect(saved).toMatchObject({ state: 'saved' })
    expect(saved.pid).toBeUndefined()
    expect(readdirSync(savedFolder(id))).toEqual(['state.nbs'])

    await call('machine.start', { id })
    expect((await call('machine.get', { id })).pid).not.toBe(first)
    await type(id, 'Cc')
    // Loaded completely, the file has gone: it must never be used again.
    await until('the end of loading', () => readdirSync(savedFolder(id)).length === 0)
    await call('machine.suspend', { id })
    await call('machine.start', { id })
    await type(id, 'Dd')
    expect(said).toBe('!AaBbCcDd')
  })

  it('is refused with the reason where it does not fit; starting without it works', async () => {
    const { id } = await started()
    await type(id, 'Aa')
    await call('machine.suspend', { id })
    await call('machine.update', { id, settings: { memoryMiB: 128 } })
    await expect(call('machine.start', { id })).rejects.toMatchObject({
      code: 'state-mismatch', message: expect.stringMatching(/memory in MiB \(saved: 96; now: 128\).*without the saved state/) as string,
      details: { differences: [{ what: 'memory in MiB', saved: '96', now: '128' }] },
    })
    expect(await stateOf(id)).toBe('saved')
    await call('machine.update', { id, settings: { memoryMiB: 96 } })

    const path = join(savedFolder(id), 'state.nbs')
    const bytes = readFileSync(path)
    const damage = async (at: number): Promise<void> => {
      const copy = Buffer.from(bytes)
      copy[at] ^= 0x40
      writeFileSync(path, copy)
      await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'state-damaged' })
      expect(await stateOf(id)).toBe('saved')
    }
    await damage(1000)
    await damage(bytes.length - 30)
    await damage(bytes.length - 100)
    writeFileSync(path, bytes.subarray(0, bytes.length - 1000))
    await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'state-damaged', message: expect.stringContaining('not written completely') as string })
    writeFileSync(path, 'something else')
    await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'state-damaged' })

    writeFileSync(path, bytes)
    await call('machine.start', { id })
    await type(id, 'Bb')
    await call('machine.suspend', { id })
    said = ''
    await call('machine.start', { id, fresh: true })
    await until('a fresh guest', () => said.includes('!'))
    await type(id, 'Aa')
    expect(existsSync(path)).toBe(false)
  })

  it('is kept when the app ends, and goes on when it starts again', async () => {
    const { id } = await started()
    await type(id, 'Aa')
    await manager.shutdown('suspend')
    expect(readdirSync(savedFolder(id)).sort()).toEqual(['resume-on-start', 'state.nbs'])
    await open()
    expect(await stateOf(id)).toBe('saved')
    await manager.resumeSuspended()
    expect(await stateOf(id)).toBe('running')
    await call('console.open', { id, port: 'ttyS0' })
    await type(id, 'Bb')
  })

  it('is discarded, cancelled or killed without leaving a half state', async () => {
    const { id } = await started()
    await type(id, 'Aa')
    const suspending = call('machine.suspend', { id })
    const [task] = await call('task.list', {})
    await call('task.cancel', { id: task.id })
    await expect(suspending).rejects.toMatchObject({ code: 'cancelled' })
    expect(await stateOf(id)).toBe('running')
    await type(id, 'Bb')
    expect(readdirSync(savedFolder(id))).toEqual([])

    // Killed at several moments of saving: the state is there whole, or not at all.
    for (const delay of [5, 40, 120, 300]) {
      const { pid } = await call('machine.get', { id })
      const outcome = call('machine.suspend', { id }).then(() => 'saved', () => 'crashed')
      await new Promise((resolve) => setTimeout(resolve, delay))
      if (pid !== undefined && (await stateOf(id)) === 'saving') process.kill(pid, 'SIGKILL')
      await outcome
      const state = await stateOf(id)
      expect(['saved', 'crashed']).toContain(state)
      said = ''
      await call('machine.start', { id })
      if (state === 'crashed') await until('a fresh guest', () => said.includes('!'))
      const before = said.length
      await call('console.write', { id, port: 'ttyS0', text: 'x' })
      await until('an answer', () => said.length >= before + 2)
      await until('the end of loading', () => readdirSync(savedFolder(id)).length === 0)
    }
    await call('machine.suspend', { id })
    await call('machine.discardSaved', { id })
    expect(await stateOf(id)).toBe('stopped')
    expect(readdirSync(savedFolder(id))).toEqual([])
    await expect(call('machine.discardSaved', { id })).rejects.toMatchObject({ code: 'wrong-state' })
  })
})
