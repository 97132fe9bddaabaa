/** A manager in this process, one client, and a guest that counts what is typed: for tests of suspend and snapshots. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallName, CallParams, CallResult, Machine, MachineSettings } from '../../src/preload/contract'
import { createManager, type Manager } from '../../src/main/services/manager'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** Answers every byte with how many came so far, from a register and from memory: Aa, Bb, … First it fills `mib` of memory. */
const tally = (mib: number): string => `
  cld
  mov rdi, 0x2000000
  mov ecx, ${mib} * 1048576 / 8
  mov rax, 0x0123456789abcdef
fill:
  imul rax, rax, 1103515245
  inc rax
  stosq
  loop fill
  mov r14, 0x1800000
  xor r15d, r15d
  mov dx, 0x3f8
  mov al, '!'
  out dx, al
again:
  hear
  inc r15d
  inc dword [r14]
  mov al, r15b
  add al, 'A' - 1
  out dx, al
  mov al, [r14]
  add al, 'a' - 1
  out dx, al
  jmp again`

export class ManagerRig {
  readonly home = mkdtempSync(join(tmpdir(), 'nestbox-state-'))
  manager!: Manager
  said = ''
  /** Of all machines, in the order in which the manager told them. */
  readonly states: string[] = []
  private readonly kernel = join(this.home, 'tally.bin')

  constructor(private readonly vmHostEntry: string, filledMiB: number) {
    writeFileSync(this.kernel, buildTinyKernel(tally(filledMiB)))
  }

  call!: <N extends CallName>(name: N, params: CallParams<N>) => Promise<CallResult<N>>

  async open(): Promise<void> {
    this.manager = await createManager({ home: this.home, vmHostEntry: this.vmHostEntry })
    const client = this.manager.connect((name, payload) => {
      if (name === 'console.data') this.said += (payload as { text: string }).text
      const { state } = payload as Partial<Machine>
      if (name === 'machine.changed' && state !== undefined && state !== this.states.at(-1)) this.states.push(state)
    })
    this.call = async (name, params) => {
      const outcome = await client.call(name, params)
      if (!outcome.ok) throw Object.assign(new Error(outcome.error.message), outcome.error)
      return outcome.result as never
    }
  }

  async until(what: string, condition: () => boolean, timeoutMs = 60_000): Promise<void> {
    const end = Date.now() + timeoutMs
    while (!condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for ${what}; the console said ${JSON.stringify(this.said)}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  create(settings: Partial<MachineSettings> = {}): Promise<Machine> {
    return this.call('machine.create', { settings: { name: 'tally', kernel: this.kernel, memoryMiB: 96, onReset: 'stop', ...settings } })
  }

  /** Created, started, and at its prompt. */
  async started(settings: Partial<MachineSettings> = {}): Promise<Machine> {
    const machine = await this.create(settings)
    await this.call('console.open', { id: machine.id, port: 'ttyS0' })
    await this.call('machine.start', { id: machine.id })
    await this.until('the guest', () => this.said.includes('!'))
    return machine
  }

  async type(id: string, answer: string): Promise<void> {
    await this.call('console.write', { id, port: 'ttyS0', text: 'x' })
    await this.until(answer, () => this.said.endsWith(answer))
  }

  async stateOf(id: string): Promise<string> {
    return (await this.call('machine.get', { id })).state
  }

  machineFolder(id: string, ...parts: string[]): string {
    return join(this.home, 'machines', id, ...parts)
  }

  async close(): Promise<void> {
    await this.manager.shutdown()
    rmSync(this.home, { recursive: true, force: true })
  }
}
