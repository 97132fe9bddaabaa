/**
 * A program that walks from reset through real, protected and long mode, run by tier 0 on a whole vCPU: INT through the
 * vector table, LGDT, far jumps, WRMSR, paging, 64-bit gates, STI;HLT with an interrupt, #UD and IRETQ.
 */
import { expect, it } from 'vitest'
import { powerOnState } from '../../src/main/vmm/boot/apply'
import { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'
import { createCpuModel } from '../../src/main/vmm/cpu/cpuid'
import { InsnScanner } from '../../src/main/vmm/cpu/decode/scanner'
import { TestPlatform } from '../../src/main/vmm/cpu/helpers/system/test-cpu'
import { buildInterpreter } from '../../src/main/vmm/cpu/interp/builder'
import { numberHandlers } from '../../src/main/vmm/cpu/interp/handler-table'
import { PSEUDO_SLOTS } from '../../src/main/vmm/cpu/interp/record'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { STATE_SIZE, Seg } from '../../src/main/vmm/cpu/state/layout'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { CODE_TLB_BYTES, CODE_TLB_SETS, TLB_AREA_BYTES } from '../../src/main/vmm/mmu/tlb-layout'
import type { WasmEngine } from '../../src/main/vmm/ports'

/**
 * nasm, org 0x1000: cli; ds = ss = 0; sp = 0x8000; int 0x21 (handler: [0x7000] = 0x1111; iret); lgdt; CR0.PE; jmp 8:pm;
 * [0x7004] = 0x2222; tables at 0x20000 map 2 MiB; CR4.PAE; CR3; EFER = SCE LME NXE; CR0.PG WP; jmp 0x18:lm;
 * [0x7008] = 0x3333; lidt (0x9000); sti; hlt; [0x7010] = rbx; ud2; [0x7018] = 0x4444; 1000 turns of dec/jnz; cli;
 * [0x701c] = 0x5555; hlt. timer: inc rbx; iretq. ud: add qword [rsp], 2; iretq. Then GDT, GDTR and IDTR images.
 */
const PROGRAM = `
fa31c08ed88ed0bc0080cd210f011600110f20c00c010f22c066ea281000000800c70600701111cf66b810008ed88ec08ed0bc00800000c705047000
0022220000c7050000020003100200c7050010020003200200c7050020020083000000b8200000000f22e0b8000002000f22d8b9800000c00f320d01
0900000f300f20c00d000001800f22c0ea8f1000001800c7042508700000333300000f011c250611000031c9fbf448891c25107000000f0bc7042518
70000044440000b9e8030000ffc975fcfac704251c70000055550000f448ffc348cf488304240248cf9090900000000000000000ffff0000009bcf00
ffff00000093cf00ffff0000009baf001f00e0100000ff0f0090`
const HANDLER_21 = 0x1021, TIMER = 0x10d1, UNDEFINED = 0x10d6
const CODE64 = 0x18
const PAGE = 4096
const RAM_BYTES = 1 << 20

const wasm: WasmEngine = {
  createMemory: (pages) => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) as unknown as { buffer: SharedArrayBuffer },
  createTable: (initial) => new WebAssembly.Table({ initial, element: 'anyfunc' }),
  compile: (bytes) => new WebAssembly.Module(bytes as BufferSource),
  instantiate: (module, imports) => new WebAssembly.Instance(module as WebAssembly.Module, imports as WebAssembly.Imports),
}

interface Machine { readonly cpu: Vcpu; readonly view: DataView; interrupt(vector: number): void }

function createMachine(): Machine {
  let at = 0
  const take = (bytes: number): number => {
    const start = at
    at = Math.ceil((at + bytes) / PAGE) * PAGE
    return start
  }
  const decodeCacheBytes = 1 << 20
  const layout = {
    state: take(STATE_SIZE), tlb: take(TLB_AREA_BYTES), codeTlb: take(CODE_TLB_BYTES * CODE_TLB_SETS),
    decodeCache: take(decodeCacheBytes), decodeCacheBytes,
  }
  const tableBase = take((RAM_BYTES / PAGE) * 4)
  const framesBase = take(RAM_BYTES)
  const memory = wasm.createMemory(Math.ceil(at / 65_536))
  const ram = new PhysicalRam(memory.buffer, new FrameTable(memory.buffer, { tableBase, framesBase, ramBytes: RAM_BYTES }))
  const handlers = numberHandlers(isaRows)
  const interpreter = buildInterpreter(isaRows)
  const model = createCpuModel('nestbox64', { tscKHz: 1_000_000, apicId: 0, cpuCount: 1 })
  let pending = -1
  const cpu = new Vcpu({
    memory, layout, ram, mmio: { read: () => 0xffff_ffff, write: () => undefined }, platform: new TestPlatform(), model, wasm,
    interrupts: {
      pendingVector: () => pending,
      acknowledge() {
        const vector = pending
        pending = -1
        return vector
      },
      takeNmi: () => false,
    },
    scanner: new InsnScanner(isaRows, (name) => model.has(name)),
    slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) },
    interpreter: { ...interpreter, module: wasm.compile(interpreter.bytes) },
  })
  ram.setCodeWriteListener((page, offset, length) => cpu.codeWritten(page, offset, length))
  const interrupt = (vector: number): void => {
    pending = vector
    cpu.requestExit()
  }
  return { cpu, view: new DataView(memory.buffer, framesBase, RAM_BYTES), interrupt }
}

function putGate(view: DataView, vector: number, handler: number): void {
  view.setUint32(0x9000 + vector * 16, (CODE64 << 16) | handler, true)
  view.setUint32(0x9000 + vector * 16 + 4, 0x8e00, true)
}

function load({ cpu, view }: Machine): void {
  const hex = PROGRAM.replace(/\s/g, '')
  for (let i = 0; i < hex.length / 2; i++) view.setUint8(0x1000 + i, parseInt(hex.slice(i * 2, i * 2 + 2), 16))
  view.setUint32(0x21 * 4, HANDLER_21, true)
  putGate(view, 0x30, TIMER)
  putGate(view, 6, UNDEFINED)
  const { state } = cpu
  powerOnState(state)
  state.set('segSelector', 0, Seg.CS)
  state.set64('segBase', 0n, Seg.CS)
  state.set64('rip', 0x1000n)
  state.set('idtrLimit', 0x3ff)
  cpu.afterReset()
}

it('tier 0 goes from reset to long mode, and lives with interrupts and exceptions there', () => {
  const machine = createMachine()
  const { cpu, view } = machine
  load(machine)
  const word = (at: number): number => view.getUint32(at, true)
  expect(cpu.run(5000)).toBe('halted')
  expect([word(0x7000), word(0x7004), word(0x7008), word(0x7010)]).toEqual([0x1111, 0x2222, 0x3333, 0])
  machine.interrupt(0x30)
  expect(cpu.run(500)).toBe('slice')
  expect([word(0x7010), word(0x7018), word(0x701c)]).toEqual([1, 0x4444, 0])
  // An interrupt in the middle of the loop.
  machine.interrupt(0x30)
  expect(cpu.run(50_000)).toBe('halted')
  expect([word(0x701c), cpu.state.gpr(3)]).toEqual([0x5555, 2n])
  expect([cpu.counters.exceptions, cpu.counters.interrupts, cpu.counters.unimplemented.size]).toEqual([1, 2, 0])
})
