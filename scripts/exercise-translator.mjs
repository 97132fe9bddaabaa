/**
 * Run by itself while the project is built: the thread that translates is given some code, so that the engine compiles what a machine
 * needs of its program. Arguments: the thread's launcher, the folder with tier 0.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { settleEngineFlags } from '../src/main/host/engine-flags'
import { encodeJob } from '../src/main/vmm/cpu/dbt/translation-message'
import { RECORD_SIZE } from '../src/main/vmm/cpu/interp/record'
import { Mode } from '../src/main/vmm/cpu/state/mode'

/** What kernels do most: a loop that calls a function, by their encodings. */
const LOOP = [
  [0x48, 0x8b, 0x47, 0x08], // mov rax, [rdi+8]
  [0x48, 0x89, 0x04, 0xce], // mov [rsi+rcx*8], rax
  [0x0f, 0xb6, 0x17], // movzx edx, byte [rdi]
  [0x88, 0x56, 0x01], // mov [rsi+1], dl
  [0x8d, 0x5a, 0x04], // lea ebx, [rdx+4]
  [0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0x00, 0x00, 0x00], // mov rax, gs:[0x28]
  [0x48, 0x01, 0xd8], // add rax, rbx
  [0x48, 0x29, 0xd0], // sub rax, rdx
  [0x83, 0xe2, 0x0f], // and edx, 15
  [0x48, 0xc1, 0xe0, 0x03], // shl rax, 3
  [0xd3, 0xea], // shr edx, cl
  [0x09, 0xd0], // or eax, edx
  [0x31, 0xdb], // xor ebx, ebx
  [0xf7, 0xd8], // neg eax
  [0x48, 0x0f, 0xaf, 0xc2], // imul rax, rdx
  [0xff, 0x06], // inc dword [rsi]
  [0x48, 0x83, 0xc7, 0x01], // add rdi, 1
  [0x53], // push rbx
  [0x5b], // pop rbx
  [0x48, 0x39, 0x4f, 0x10], // cmp [rdi+16], rcx
  [0x0f, 0x94, 0xc3], // sete bl
  [0x0f, 0x44, 0xc2], // cmovz eax, edx
  [0xf3, 0x48, 0xab], // rep stosq
]
const CALL_BEHIND = [0xe8, 0x04, 0x00, 0x00, 0x00] // call: over what ends the loop
const TEST = [0x85, 0xc0] // test eax, eax
const FUNCTION = [[0x48, 0x63, 0xc2], [0xc3]] // movsxd rax, edx; ret

const [launcher, folder] = process.argv.slice(2)
const memory = new SharedArrayBuffer(4096)
const bytes = new Uint8Array(memory)
let end = 0
/** Writes a block at the end of the code. */
function block(...insns) {
  const pageOffset = end
  const records = insns.map((insn, i) => {
    bytes.set(insn, end)
    end += insn.length
    return { offset: (i + 1) * RECORD_SIZE, kind: 'insn', delta: end - insn.length - pageOffset, count: i + 1 }
  })
  return { head: 1 + pageOffset, modeKey: Mode.CODE64 | Mode.PROTECTED | Mode.FLAT | Mode.LONG, host: 0, pageOffset, records }
}
const body = block(...LOOP, CALL_BEHIND)
const turn = block(TEST, [0x75, -(end + TEST.length + 2) & 0xff]) // jnz: to the first instruction
const blocks = [body, turn, block(...FUNCTION)]

settleEngineFlags()
const worker = new Worker(launcher)
worker.on('error', (error) => { throw error })
worker.on('message', ({ heads }) => {
  if (heads.length === 0) throw new Error('the translator translated nothing')
  worker.postMessage(null)
})
worker.postMessage({ memory, cpuProfile: 'nestbox64', hotLoopAfter: 1, plan: JSON.parse(readFileSync(join(folder, 'interpreter.json'), 'utf8')).plan })
const pages = [{ delta: 0, host: 0, warm: blocks.map(({ pageOffset }) => pageOffset), went: [] }]
worker.postMessage(encodeJob({ blocks, regions: [{ ...body, linearPage: 0, pages }] }))
