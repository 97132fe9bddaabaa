/** The guest programs: what they are, and the initramfs that holds them beside busybox. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, say } from '../setup/run.mjs'

/** name -> what a reader of the table sees */
export const PROGRAMS = {
  loop: 'integer loop', sieve: 'byte sieve, 1 MiB', chase: 'dependent loads, 8 MiB', matmul: 'double matrix product', calls: 'recursive calls',
  qsort: 'qsort, indirect calls', memcpy: 'memcpy, 1 MiB blocks', syscalls: 'system calls', pipe: 'pipe ping-pong, two processes', fork: 'fork + wait',
  exec: 'fork + exec', faults: 'page faults', sha256: 'busybox sha256sum', gzip: 'busybox gzip', awk: 'busybox awk',
}
export const PROGRAM_NAMES = Object.keys(PROGRAMS)

const source = join(root, 'scripts/bench/guest')

/** A further cpio archive behind an initramfs: files of the later one win. @param files path in the guest -> file here */
export function appendToInitramfs(initrd, files, target) {
  const tree = `${target}.tree`
  rmSync(tree, { recursive: true, force: true })
  for (const [inside, here] of Object.entries(files)) {
    const path = join(tree, inside)
    mkdirSync(join(path, '..'), { recursive: true })
    copyFileSync(here, path)
    chmodSync(path, 0o755)
  }
  const more = execFileSync('sh', ['-c', 'find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -9n'], { cwd: tree, maxBuffer: 1 << 26 })
  writeFileSync(`${target}.new`, Buffer.concat([readFileSync(initrd), more]))
  renameSync(`${target}.new`, target)
  rmSync(tree, { recursive: true, force: true })
  return target
}

/** Compiles the programs static for the width (64 or 32) and adds them to the initramfs. @returns path of the new one */
export function buildProgramsInitramfs(width, initrd) {
  const hash = createHash('sha256')
  for (const file of ['work.c', 'run.sh']) hash.update(readFileSync(join(source, file)))
  const dir = join(root, '.cache/bench', `programs-${width}`)
  const stamp = join(dir, `from-${hash.update(readFileSync(initrd)).digest('hex').slice(0, 16)}`)
  const target = join(dir, 'initrd.gz')
  if (existsSync(stamp)) return target
  say(`compiling the guest programs for ${width} bits`)
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  const work = join(dir, 'work')
  run('gcc', [`-m${width}`, '-O2', '-static', '-Wall', '-Wextra', '-Werror', '-o', work, join(source, 'work.c')])
  appendToInitramfs(initrd, { 'bench/work': work, 'bench/run': join(source, 'run.sh') }, target)
  writeFileSync(stamp, '')
  return target
}
