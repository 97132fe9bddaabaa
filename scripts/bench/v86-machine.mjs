/**
 * One v86 machine, its first serial port on standard input and output:
 * `node v86-machine.mjs KERNEL INITRD APPEND MEMORY_MIB SEABIOS_DIR`. Ends when it is told to.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { V86 } from 'v86'

const [kernel, initrd, append, memoryMiB, seabios] = process.argv.slice(2)

function image(path) {
  const bytes = readFileSync(path)
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) }
}

const machine = new V86({
  wasm_path: join(dirname(createRequire(import.meta.url).resolve('v86')), 'v86.wasm'),
  bios: image(join(seabios, 'bios.bin')), vga_bios: image(join(seabios, 'vgabios-stdvga.bin')),
  bzimage: image(kernel), initrd: image(initrd), cmdline: append, memory_size: Number(memoryMiB) << 20, vga_memory_size: 8 << 20,
  autostart: true, disable_keyboard: true, disable_mouse: true, disable_speaker: true,
})

// A write per byte would cost more than the guest: what one turn of the event loop says goes out together.
let pending = []
machine.add_listener('serial0-output-byte', (byte) => {
  if (pending.length === 0) setImmediate(flush)
  pending.push(byte)
})
function flush() {
  process.stdout.write(Buffer.from(pending))
  pending = []
}
process.stdin.on('data', (chunk) => machine.serial0_send(chunk.toString('latin1')))
process.stdin.on('end', () => process.exit(0))
