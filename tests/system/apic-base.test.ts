/** A guest that moves its local APIC and looks for it, and one that shuts a gate that is not there. */
import { describe, expect, it } from 'vitest'
import { NodeClock, NodeEntropy, NodeWasmEngine } from '../../src/main/host'
import { createMachine } from '../../src/main/vmm/machine'
import { buildTinyKernel } from '../fixtures/tiny-kernel'

/** Bytes the guest says until it switches itself off. */
function run(source: string, maxTier: 0 | 1 | 2): number[] {
  const said: number[] = []
  const silent = { write: () => undefined, onInput: () => undefined }
  const machine = createMachine({
    name: 'apic', uuid: '11111111-2222-4333-8444-555555555555', memoryMiB: 16, cpuProfile: 'nestbox64', disks: [], onReset: 'stop', maxTier,
    kernel: { image: buildTinyKernel(source), commandLine: '' },
  }, {
    clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(), log: { log: () => undefined }, console: silent,
    serial: { write: (bytes) => void said.push(...bytes), onInput: () => undefined },
  })
  machine.resumeClock()
  for (let slices = 0; slices < 2000; slices++) {
    const result = machine.runSlice(4e6)
    if (result.kind === 'stopped') {
      expect(result.reason).toEqual({ kind: 'power-off' })
      return said
    }
  }
  throw new Error('the guest did not end')
}

/** Page tables over the first 4 GiB in pages of 1 GiB: the tables the kernel was entered with may end before the APIC. */
const MAP_4_GIB = `
  mov edi, 0x8000
  xor eax, eax
  mov ecx, 0x800
  rep stosd
  mov dword [0x8000], 0x9007
  mov dword [0x9000], 0x00000087
  mov dword [0x9008], 0x40000087
  mov dword [0x9010], 0x80000087
  mov dword [0x9018], 0xc0000087
  mov eax, 0x8000
  mov cr3, rax
`

const VERSION = [0x14, 0x00, 0x06, 0x01]

const setBase = (value: string): string => `
  mov ecx, 0x1b
  mov eax, ${value}
  xor edx, edx
  wrmsr
`
const sayVersion = (where: string): string => `
  mov ebx, ${where}
  mov eax, [rbx + 0x30]
  call sayeax
`
const SAY_EAX = `
sayeax:
  mov dx, 0x3f8
  mov ecx, 4
.next:
  out dx, al
  shr eax, 8
  loop .next
  ret
`

describe.each([0, 1] as const)('on tier %i', (maxTier) => {
  it('IA32_APIC_BASE moves the page, and x2APIC mode takes it away', () => {
    const said = run(`
      mov rsp, 0x7000
      ${MAP_4_GIB}
      ${sayVersion('0xfee00000')}
      ${setBase('0xfeb00900')}
      ${sayVersion('0xfee00000')}
      ${sayVersion('0xfeb00000')}
      ${setBase('0xfeb00d00')}
      ${sayVersion('0xfeb00000')}
      mov ecx, 0x803
      rdmsr
      call sayeax
      ${setBase('0xfeb00100')}
      ${setBase('0xfee00900')}
      ${sayVersion('0xfee00000')}
      poweroff
      hlt
      ${SAY_EAX}`, maxTier)
    const nothing = [0xff, 0xff, 0xff, 0xff]
    expect(said).toEqual([...VERSION, ...nothing, ...VERSION, ...nothing, ...VERSION, ...VERSION])
  })

  it('the page over memory is the processor\'s registers, and away again what the memory held', () => {
    const said = run(`
      mov rsp, 0x7000
      ${MAP_4_GIB}
      mov dword [0x280030], 0x44332211
      mov dword [0x281030], 0x88776655
      ${sayVersion('0x280000')}
      ${setBase('0x280900')}
      ${sayVersion('0x280000')}
      mov dword [0x280080], 0x20
      mov dword [0x280030], 0x99999999
      mov esi, 0x280080
      mov edi, 0x282000
      mov ecx, 1
      rep movsd
      mov eax, [0x282000]
      call sayeax
      ${sayVersion('0x281000')}
      ${setBase('0x281900')}
      ${sayVersion('0x280000')}
      ${sayVersion('0x281000')}
      ${setBase('0xfee00900')}
      ${sayVersion('0x281000')}
      ${sayVersion('0xfee00000')}
      poweroff
      hlt
      ${SAY_EAX}`, maxTier)
    const [low, high] = [[0x11, 0x22, 0x33, 0x44], [0x55, 0x66, 0x77, 0x88]]
    expect(said).toEqual([...low, ...VERSION, 0x20, 0, 0, 0, ...high, ...low, ...VERSION, ...high, ...VERSION])
  })

  it('a shut A20 gate masks nothing', () => {
    const said = run(`
      mov byte [0x300000], 0x11
      mov byte [0x200000], 0x22
      in al, 0x92
      and al, 0xfc
      out 0x92, al
      mov al, 0xd1
      out 0x64, al
      mov al, 0xcd
      out 0x60, al
      mov rax, cr3
      mov cr3, rax
      mov dx, 0x3f8
      mov al, [0x300000]
      out dx, al
      mov al, [0x200000]
      out dx, al
      in al, 0x92
      and al, 2
      out dx, al
      poweroff
      hlt`, maxTier)
    expect(said).toEqual([0x11, 0x22, 0])
  })
})
