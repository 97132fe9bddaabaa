/**
 * Has an engine compile tier 0 and the programs before anybody waits for them: each program runs once for each of its uses, with a machine
 * whose kernel only switches it off or with some code to translate, and what the engine made of it is kept beside it. See
 * src/main/host/cached-program.ts. The build does it with Node; whoever has an Electron that will run the app does it with that too.
 */
import { fork, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { root } from './setup/run.mjs'

const OUT = { main: join(root, 'out/main'), cli: join(root, 'out/cli') }

/** Run by itself: an engine that has other functions than expected ends the process. Arguments: the module, the folder of the code. */
const COMPILE = `import { readFileSync, writeFileSync } from 'node:fs'
  import { join } from 'node:path'
  import { compileWhole, ENGINE, machineCodeOf, moduleFrom } from './src/main/host/machine-code'
  const [module, folder] = process.argv.slice(2)
  const bytes = readFileSync(module)
  const code = machineCodeOf(compileWhole(bytes))
  if (!moduleFrom(bytes, code)) throw new Error('the engine does not take its own code back')
  writeFileSync(join(folder, 'interpreter.' + ENGINE + '.code'), code)`

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

/** An engine that runs programs, Node or an Electron as Node, in a folder of its own. */
class Engine {
  constructor(path, dir) {
    this.path = path
    this.dir = dir
    this.env = { ...process.env, ELECTRON_RUN_AS_NODE: '1', NESTBOX_HOME: dir, NESTBOX_KEEP_CODE: '1' }
  }

  /** @throws Error with what the program said, where it fails */
  run(...args) {
    const { status, stderr } = spawnSync(this.path, args, { env: this.env, timeout: LIMIT, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
    if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`)
  }

  /** Bundles a script, which may use the sources, and runs it. @param what `stdin` or `entryPoints` of the bundler */
  async runScript(what, ...args) {
    const outfile = join(this.dir, 'script.cjs')
    await build({ ...what, outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'warning' })
    this.run(outfile, ...args)
  }

  runMachineProcess(entry, kernel) {
    const { dir } = this
    const config = {
      name: 'build', uuid: '00000000-0000-4000-8000-000000000000', generationId: '00000000-0000-4000-8000-000000000000', memoryMiB: 64,
      cpuProfile: 'nestbox64', kernel, initrd: '', commandLine: '', disks: [], onReset: 'stop', maxTier: 2, logDir: dir, translationsDir: join(dir, 'translations'),
    }
    return new Promise((resolve, reject) => {
      const child = fork(entry, [], { execPath: this.path, serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: this.env, timeout: LIMIT })
      let end
      child.on('message', (message) => {
        if (message.type === 'ready') child.send({ type: 'launch', config })
        if (message.type === 'refused' || message.type === 'stopped') end = message
      })
      child.on('error', reject)
      child.on('exit', () => (end?.reason?.kind === 'power-off' ? resolve() : reject(new Error(`${entry} did not run the power-off kernel: ${JSON.stringify(end)}`))))
    })
  }
}

/** Code of an earlier build is of no use. */
export function removeCode() {
  for (const folder of Object.values(OUT)) for (const name of readdirSync(folder)) if (name.endsWith('.code')) rmSync(join(folder, name))
}

/** What the processes of machines run; without it they compile that at each start. */
async function prebuildMachines(engine, kernel) {
  await engine.runScript({ stdin: { contents: COMPILE, resolveDir: root, loader: 'ts' } }, join(OUT.main, 'interpreter.wasm'), OUT.main)
  await engine.runMachineProcess(join(OUT.main, 'vm-host.cjs'), kernel)
  // A machine that only switches itself off has nothing translated.
  await engine.runScript({ entryPoints: [join(root, 'scripts/exercise-translator.mjs')] }, join(OUT.main, 'translator.cjs'), OUT.main)
}

function prebuildCommand(engine, kernel) {
  const cli = join(OUT.cli, 'nestbox.cjs')
  engine.run(cli, 'run', '--memory', '64', '--kernel', kernel, '--append', '')
  engine.run(cli, 'manager', '--idle-exit', '0')
}

/**
 * @param path the engine's executable
 * @param command the command is run by it too
 */
export async function prebuildCode(path, { command }) {
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-code-'))
  try {
    const kernel = join(dir, 'kernel')
    writeFileSync(kernel, bzImage(POWER_OFF))
    const engine = new Engine(path, dir)
    await prebuildMachines(engine, kernel)
    if (command) prebuildCommand(engine, kernel)
  } catch (error) {
    console.warn(`not all is compiled ahead: ${error.message}`)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
