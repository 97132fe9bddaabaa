/** What binutils makes of bytes: the other opinion of the decoder's and the disassembler's tests. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CpuMode } from './records'

/**
 * One line of a listing: Intel syntax with prefixes, "(bad)" in it where binutils knows no instruction, without the remark that
 * only an old coprocessor heeds it; and how many bytes it took.
 */
export interface Listed {
  readonly text: string
  readonly length: number
}

const MACHINES: Readonly<Record<CpuMode, string>> = { 64: 'i386:x86-64', 32: 'i386', 16: 'i8086' }

/** A listing of the whole image by address. */
export function listingOf(image: Uint8Array, mode: CpuMode): Map<number, Listed> {
  const folder = mkdtempSync(join(tmpdir(), 'nestbox-objdump-'))
  try {
    const file = join(folder, 'image')
    writeFileSync(file, image)
    const args = ['-D', '-z', '-w', '--insn-width=16', '-b', 'binary', '-m', MACHINES[mode], '-M', 'intel,intel64', file]
    const listing = execFileSync('objdump', args, { encoding: 'utf8', maxBuffer: 1 << 28 })
    const found = new Map<number, Listed>()
    for (const line of listing.split('\n')) {
      const match = /^\s*([0-9a-f]+):\t([0-9a-f ]+)\t(.*)$/.exec(line)
      if (match) found.set(parseInt(match[1], 16), { text: match[3].replace(/\(\d+ only\)/, '').trim(), length: match[2].trim().split(/\s+/).length })
    }
    return found
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const PREFIX =
  /^(rex(\.[wrxb]+)?|data16|data32|addr16|addr32|lock|repz|repnz|rep|repne|bnd|notrack|[cdefgs]s|xacquire|xrelease|data64)\s+/i

/** A line's text without the prefixes it shows. */
export function withoutPrefixes(text: string): string {
  let rest = text
  while (PREFIX.test(rest)) rest = rest.replace(PREFIX, '')
  return rest
}

/** The name in a line; empty where it shows prefixes alone. */
export const listedName = (text: string): string => withoutPrefixes(text).split(/[\s,]/)[0] ?? ''
