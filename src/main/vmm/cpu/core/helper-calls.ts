/** Helpers as generated code calls them. */
import type { Helper } from '../emit/emitter'
import type { CpuContext } from './context'

type Argument = number | bigint
type HelperCall = (cpu: number, ...args: Argument[]) => Argument | void

const unsigned = (arg: Argument): Argument => (typeof arg === 'bigint' ? BigInt.asUintN(64, arg) : arg >>> 0)

/**
 * Helpers by name, each with its context and unsigned arguments.
 * @param fail is told what a helper throws; generated code gets a zero then, and must look for what is pending
 */
export function helperCalls(helpers: readonly Helper[], cpu: CpuContext, fail: (error: unknown) => void): Record<string, HelperCall> {
  return Object.fromEntries(helpers.map((helper) => [helper.name, callOf(helper, cpu, fail)]))
}

function callOf(helper: Helper, cpu: CpuContext, fail: (error: unknown) => void): HelperCall {
  const run = helper.run as (cpu: CpuContext, ...args: Argument[]) => Argument | void
  const none = helper.returns === 'i64' ? 0n : 0
  const failed = (error: unknown): Argument => {
    fail(error)
    return none
  }
  if (helper.args.length > 4) {
    return (_cpu, ...args) => {
      try {
        return run(cpu, ...args.map(unsigned))
      } catch (error) {
        return failed(error)
      }
    }
  }
  // Few arguments, as nearly all have: no array is made for them.
  if (!helper.args.includes('i64')) {
    return (_cpu, a, b, c, d) => {
      try {
        return run(cpu, (a as number) >>> 0, (b as number) >>> 0, (c as number) >>> 0, (d as number) >>> 0)
      } catch (error) {
        return failed(error)
      }
    }
  }
  return (_cpu, a, b, c, d) => {
    try {
      return run(cpu, unsigned(a), unsigned(b), unsigned(c), unsigned(d))
    } catch (error) {
      return failed(error)
    }
  }
}
