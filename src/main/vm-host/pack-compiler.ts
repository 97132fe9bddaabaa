/**
 * Entry of a process that translates what the machines of a guest had no time for, compiles all their translations with the optimising
 * compiler, and keeps what came out: the next machine with that guest begins with it. It works after the machine's end, when nobody
 * waits, and behind everything else. Arguments: the store's folder, the program whose translations they are, the guest as JSON.
 */
import { basename } from 'node:path'
import { compileWhole, machineCodeOf, moduleFrom } from '../host/machine-code'
import { Behind, giveWay } from '../host/thread-priority'
import { completePack, packModule } from '../vmm/machine'
import { readPrebuilt } from './prebuilt'
import { TranslationStore, type Guest } from './translation-store'

/** Machines that end meanwhile leave other packs: as often as that is done, or it will be at the end of the next one. */
const ROUNDS = 3

/** @returns false where nothing is to be done */
function compilePack(store: TranslationStore, guest: Guest, program: string): boolean {
  const kept = store.load(guest)
  const { interpreter } = readPrebuilt(__dirname, __filename)
  if (!kept || kept.compiled || !interpreter) return false
  const whole = completePack(kept.pack, interpreter.plan, guest.cpuProfile)
  // Where a machine left another pack meanwhile, that one is next.
  if (whole && !store.replace(guest, kept.pack, whole)) return true
  const pack = whole ?? kept.pack
  const wasm = packModule(pack, interpreter.plan)
  const machineCode = machineCodeOf(compileWhole(wasm))
  // An engine that does not like to read it ends this process, which nobody misses, instead of a machine's.
  if (moduleFrom(wasm, machineCode) === undefined) throw new Error(`${basename(program)}: the engine does not take its own code back`)
  store.saveCode(guest, { pack, compiled: { wasm, machineCode } })
  return true
}

giveWay(Behind.EVERYBODY)
const [folder, program, guest] = process.argv.slice(2)
const store = new TranslationStore(folder, program)
const parsed = JSON.parse(guest) as Guest
store.alone(parsed, () => {
  for (let round = 0; round < ROUNDS && compilePack(store, parsed, program); round++);
})
