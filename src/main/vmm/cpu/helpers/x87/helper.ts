/** What all x87 helpers share: they see the x87 state alone, and keep the opcode where an exception is not masked. */
import type { CpuContext } from '../../core/context'
import type { Helper, HelperEmitter, HelperType } from '../../emit/emitter'
import { keepOpcode } from './environment'
import { X87 } from './unit'

const SUMMARY = 0x80

type Run<R> = (unit: X87, ...args: never[]) => R

const runOn = <R>(run: Run<R>) => (cpu: CpuContext, ...args: never[]): R => {
  const result = run(new X87(cpu.state), ...args)
  if ((cpu.state.get('fsw') & SUMMARY) !== 0) keepOpcode(cpu)
  return result
}

/** @param common see `Helper.common` */
export function x87Helper(name: string, args: readonly HelperType[], run: Run<void>, common?: (e: HelperEmitter) => void): Helper {
  return { name, args, faults: false, isolated: true, run: runOn(run), ...(common ? { common } : {}) }
}

/** As `x87Helper`, with a result of 32 bits. */
export function x87Function(name: string, args: readonly HelperType[], run: Run<number>, common?: (e: HelperEmitter) => void): Helper {
  return { name, args, returns: 'i32', faults: false, isolated: true, run: runOn(run), ...(common ? { common } : {}) }
}
