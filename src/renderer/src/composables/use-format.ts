/** Numbers as people read them, in the language of the interface. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** Splits a byte count into a value below 1024 and its binary unit. */
export function scaleBytes(bytes: number): { value: number; unit: (typeof BYTE_UNITS)[number] } {
  let value = Math.max(0, bytes)
  let index = 0
  while (value >= 1024 && index < BYTE_UNITS.length - 1) {
    value /= 1024
    index++
  }
  return { value, unit: BYTE_UNITS[index] }
}

export interface Formats {
  bytes(bytes: number): string
  /** A count with a k/M/G suffix above a thousand. */
  count(value: number): string
  /** `share` is 0…1. */
  percent(share: number): string
  dateTime(value: string | number): string
  /** How long since power-on, e.g. `3 h 12 min`. */
  duration(seconds: number): string
  number(value: number, digits?: number): string
}

export function createFormats(locale: string): Formats {
  const number = (value: number, digits = 0): string =>
    new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value)
  const compact = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 })
  const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' })
  return {
    number,
    bytes(bytes) {
      const { value, unit } = scaleBytes(bytes)
      const localUnit = locale.startsWith('fr') ? unit.replace('B', 'o') : unit
      return `${number(value, value < 10 && unit !== 'B' ? 1 : 0)} ${localUnit}`
    },
    count: (value) => (Math.abs(value) < 1000 ? number(value, value < 10 ? 1 : 0) : compact.format(value)),
    percent: (share) => new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share),
    dateTime: (value) => {
      const date = new Date(value)
      return Number.isNaN(date.getTime()) ? '–' : dateTime.format(date)
    },
    duration(seconds) {
      const whole = Math.max(0, Math.floor(seconds))
      if (whole < 60) return `${whole} s`
      if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
      if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
      const days = Math.floor(whole / 86_400)
      return `${days} ${locale.startsWith('fr') ? 'j' : 'd'} ${Math.floor((whole % 86_400) / 3600)} h`
    },
  }
}

/** The formats of the present language; changes with it. */
export function useFormat(): ComputedRef<Formats> {
  const { locale } = useI18n()
  return computed(() => createFormats(locale.value))
}
