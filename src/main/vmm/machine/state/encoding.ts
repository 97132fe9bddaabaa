/**
 * Device states as text: JSON, with what JSON lacks in tagged objects. Readable with any tool, and independent of the
 * JavaScript engine that wrote it.
 */
import type { DeviceState, StateValue } from '../../bus/types'
import { VmmError } from '../../errors'

/** Tags; a state never has a field of such a name. */
const BIG = '$big'
const BYTES = '$hex'
const NUMBER = '$number'

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || /[^0-9a-f]/.test(text)) throw new VmmError('bad-state', 'bytes must be hexadecimal digits in pairs')
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.slice(2 * i, 2 * i + 2), 16))
}

function encodeValue(value: StateValue): Json {
  switch (typeof value) {
    case 'bigint': return { [BIG]: `0x${BigInt.asUintN(64, value).toString(16)}`, ...(value < 0n ? { negative: true } : {}) }
    case 'number': return Number.isFinite(value) && !Object.is(value, -0) ? value : { [NUMBER]: Object.is(value, -0) ? '-0' : String(value) }
    case 'string': case 'boolean': return value
    default:
  }
  if (value === null) return null
  if (value instanceof Uint8Array) return { [BYTES]: toHex(value) }
  if (Array.isArray(value)) return (value as readonly StateValue[]).map(encodeValue)
  return Object.fromEntries(Object.entries(value as DeviceState).map(([key, v]) => [key, encodeValue(v)]))
}

function decodeTagged(value: { readonly [key: string]: Json }): StateValue | undefined {
  const text = value[BIG] ?? value[BYTES] ?? value[NUMBER]
  if (text === undefined) return undefined
  if (typeof text !== 'string') throw new VmmError('bad-state', 'a tagged value must be text')
  if (NUMBER in value) return Number(text)
  if (BYTES in value) return fromHex(text)
  if (!/^0x[0-9a-f]{1,16}$/.test(text)) throw new VmmError('bad-state', `${text.slice(0, 40)} is not an integer of 64 bits`)
  return value.negative === true ? BigInt.asIntN(64, BigInt(text)) : BigInt(text)
}

function decodeValue(value: Json): StateValue {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return (value as readonly Json[]).map(decodeValue)
  const object = value as { readonly [key: string]: Json }
  return decodeTagged(object) ?? Object.fromEntries(Object.entries(object).map(([key, v]) => [key, decodeValue(v)]))
}

/** JSON text of a state. Integers outside 64 bits are not kept. */
export function encodeState(state: DeviceState): string {
  return JSON.stringify(encodeValue(state))
}

/** @throws VmmError `bad-state` where the text is not a state */
export function decodeState(text: string): DeviceState {
  let parsed: Json
  try {
    parsed = JSON.parse(text) as Json
  } catch (cause) {
    throw new VmmError('bad-state', 'the state is not JSON', {}, { cause })
  }
  const state = decodeValue(parsed)
  if (typeof state !== 'object' || state === null || Array.isArray(state) || state instanceof Uint8Array) throw new VmmError('bad-state', 'a state must be an object')
  return state as DeviceState
}
