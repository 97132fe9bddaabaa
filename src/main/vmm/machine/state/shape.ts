/** Whether a saved state looks like what the device saves today: every field there, and of its kind. */
import type { DeviceState, StateValue } from '../../bus/types'
import { VmmError } from '../../errors'

function kindOf(value: StateValue | undefined): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return 'bytes'
  if (Array.isArray(value)) return 'list'
  return typeof value
}

/**
 * @param like what the device saves now; empty lists and nulls in it say nothing about their contents
 * @throws VmmError `bad-state` naming device and field
 */
export function requireShape(id: string, like: StateValue, saved: StateValue | undefined, path = ''): void {
  const [expected, found] = [kindOf(like), kindOf(saved)]
  if (expected === 'null' || found === 'null') return
  if (expected !== found || (typeof saved === 'number' && Number.isNaN(saved))) {
    throw new VmmError('bad-state', `${id}: ${path === '' ? 'the state' : path} must be ${expected}, not ${found}`, { device: id, field: path })
  }
  if (expected === 'list') {
    const [first] = like as readonly StateValue[]
    if (first !== undefined) (saved as readonly StateValue[]).forEach((value, i) => requireShape(id, first, value, `${path}[${i}]`))
  } else if (expected === 'object') {
    for (const [key, value] of Object.entries(like as DeviceState)) requireShape(id, value, (saved as DeviceState)[key], path === '' ? key : `${path}.${key}`)
  }
}
