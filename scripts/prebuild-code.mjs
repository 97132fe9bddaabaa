/**
 * Has the engine compile the programs while the project is built: each runs once for each of its uses, with a machine whose kernel only
 * switches it off or with some code to translate, and what the engine made of it is kept beside it. See src/main/host/cached-program.ts.
 */
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'
import { root } from './setup/run.mjs'

/** Milliseconds for what takes one second. */
const LIMIT = 60_000

/** mov dx, 0x604; mov ax, SLP_TYP 5 | SLP_EN; out dx, ax; hlt: ACPI's power-off, at the 64-bit entry of the boot protocol. */
const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, 0xf4]

/** A bzImage of boot protocol 2.12: one setup sector, then the kernel, whose 64-bit entry is at 0x200. */
function bzImage(code) {
  const image = Buffer.alloc(1024 + 0x200 + 256)
  image[0x1f1] = 1
  image.writeUInt32LE((image.length - 1024) / 16, 0x1f4)
  image.writeUInt16LE(0xaa55, 0x1fe)
  image.writeUInt16LE(0x66eb, 0x200)
  image.write('HdrS', 0x202)
  image.writeUInt16LE(0x20c, 0x206)
  image[0x211] = 1
  image.writeUInt32LE(0x7fff_ffff, 0x22c)
  image.writeUInt32LE(0x100000, 0x230)
  image.writeUInt16LE(1, 0x236)
  image.writeUInt32LE(2047, 0x238)
  image.writeBigUInt64LE(0x100000n, 0x258)
  image.writeUInt32LE(0x10000, 0x260)
  Buffer.from(code).copy(image, 1024 + 0x200)
  return image
}

const environment = (dir) => ({ ...process.env, NESTBOX_HOME: dir, NESTBOX_KEEP_CODE: '1' })

function runCommand(cli, dir, ...args) {
  const { status, stderr } = spawnSync(process.execPath, [cli, ...args], { env: environment(dir), timeout: LIMIT, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  if (status !== 0) throw new Error(`${cli} ${args.join(' ')} failed: ${stderr}`)
}

function runMachineProcess(entry, dir, kernel) {
  const config = {
    name: 'build', uuid: '00000000-0000-4000-8000-000000000000', generationId: '00000000-0000-4000-8000-000000000000', memoryMiB: 64,
    cpuProfile: 'nestbox64', kernel, initrd: '', commandLine: '', disks: [], onReset: 'stop', maxTier: 2, logDir: dir, translationsDir: join(dir, 'translations'),
  }
  return new Promise((resolve, reject) => {
    const child = fork(entry, [], { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: environment(dir), timeout: LIMIT })
    let end
    child.on('message', (message) => {
      if (message.type === 'ready') child.send({ type: 'launch', config })
      if (message.type === 'refused' || message.type === 'stopped') end = message
    })
    child.on('error', reject)
    child.on('exit', () => (end?.reason?.kind === 'power-off' ? resolve() : reject(new Error(`${entry} did not run the power-off kernel: ${JSON.stringify(end)}`))))
  })
}

/** A machine that only switches itself off has nothing translated. */
async function runTranslator(translator, dir) {
  const outfile = join(dir, 'exercise-translator.mjs')
  await build({ entryPoints: [join(root, 'scripts/exercise-translator.mjs')], outfile, bundle: true, platform: 'node', format: 'esm', logLevel: 'warning' })
  execFileSync(process.execPath, [outfile, translator, dirname(translator)], { env: environment(dir), timeout: LIMIT, stdio: ['ignore', 'ignore', 'pipe'] })
}

/** Without it the programs are compiled at each start. @param cli, machineProcess, translator the programs' launchers */
export async function prebuildCode(cli, machineProcess, translator) {
  for (const folder of new Set([cli, machineProcess].map(dirname))) {
    for (const name of readdirSync(folder)) if (/\.cjs\..*\.code$/.test(name)) rmSync(join(folder, name))
  }
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-code-'))
  try {
    const kernel = join(dir, 'kernel')
    writeFileSync(kernel, bzImage(POWER_OFF))
    runCommand(cli, dir, 'run', '--memory', '64', '--kernel', kernel, '--append', '')
    runCommand(cli, dir, 'manager', '--idle-exit', '0')
    await runMachineProcess(machineProcess, dir, kernel)
    await runTranslator(translator, dir)
  } catch (error) {
    console.warn(`the programs are not compiled ahead: ${error.message}`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
