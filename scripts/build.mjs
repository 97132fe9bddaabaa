/** Builds the app (main, preload, renderer) and the command line tool into out/. */
import { existsSync } from 'node:fs'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { prebuildInterpreter } from './prebuild-interpreter.mjs'
import { root, run } from './setup/run.mjs'

const shared = { bundle: true, platform: 'node', target: 'node18', format: 'cjs', sourcemap: true, logLevel: 'warning', external: ['electron'] }

async function buildNode(entry, outfile, banner) {
  if (!existsSync(join(root, entry))) return
  await build({ ...shared, entryPoints: [join(root, entry)], outfile: join(root, outfile), ...(banner ? { banner: { js: banner } } : {}) })
}

if (!process.argv.includes('--node-only')) run('npx', ['--no-install', 'electron-vite', 'build', '--logLevel', 'warn'])
await buildNode('src/main/vm-host/index.ts', 'out/main/vm-host.cjs')
await buildNode('src/main/vm-host/translator.ts', 'out/main/translator.cjs')
// One thread compiles beside the guest's: more of them would take the guest's place on a computer with two cores. What the allocator
// maps alone goes back to the computer when it is freed (both: decision 6).
await buildNode('src/main/cli/index.ts', 'out/cli/nestbox.cjs', '#!/usr/bin/env -S MALLOC_MMAP_THRESHOLD_=40960 node --v8-pool-size=1')
const cli = join(root, 'out/cli/nestbox.cjs')
if (existsSync(cli)) chmodSync(cli, 0o755)
await prebuildInterpreter([join(root, 'out/main/vm-host.cjs'), join(root, 'out/main/translator.cjs'), cli], join(root, 'out/main'))
