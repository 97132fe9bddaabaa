/** `npm run kills [-- COUNT]`: machines whose guests write are killed, COUNT times for each kind of image and guest (120 unless given). */
import { spawnSync } from 'node:child_process'
import { root } from './setup/run.mjs'

const [count = '120', ...rest] = process.argv.slice(2)
if (!/^[1-9]\d{0,4}$/.test(count) || rest.length > 0) {
  process.stderr.write('usage: npm run kills [-- COUNT], from 1 to 99999\n')
  process.exit(2)
}
const args = ['--no-install', 'vitest', 'run', '--project', 'state', '--project', 'boot', 'tests/state/kills.test.ts', 'tests/boot/kills.test.ts']
const { status } = spawnSync('npx', args, { cwd: root, stdio: 'inherit', env: { ...process.env, NESTBOX_KILLS: count } })
process.exitCode = status ?? 1
