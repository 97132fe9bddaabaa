/** A library that is filled before the app starts on it. */
import { join } from 'node:path'
import { createManager } from '../../src/main/services/manager'
import { ROOT } from './world'

/** A call of the contract whose result has an id. @throws Error with what the manager said */
export type FillCall = (name: string, params: unknown) => Promise<{ readonly id: string }>

/** @param fill makes what is to be there, with a manager of its own that ends before this resolves */
export async function fillLibrary(home: string, fill: (call: FillCall) => Promise<void>): Promise<void> {
  const manager = await createManager({ home, vmHostEntry: join(ROOT, 'out/main/vm-host.cjs') })
  const client = manager.connect(() => undefined)
  await fill(async (name, params) => {
    const outcome = await client.call(name, params)
    if (!outcome.ok) throw new Error(outcome.error.message)
    return outcome.result as { id: string }
  })
  await manager.shutdown()
}
