/** Installs the project's npm packages where they are missing or do not fit the lock file. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, say } from './run.mjs'

export function ensureNpmPackages() {
  const lock = join(root, 'package-lock.json')
  const stamp = join(root, 'node_modules', '.nestbox-lock')
  const wanted = createHash('sha256').update(readFileSync(lock)).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  say('installing npm packages (npm ci)')
  run('npm', ['ci', '--no-progress', '--loglevel=error'])
  writeFileSync(stamp, wanted)
}
