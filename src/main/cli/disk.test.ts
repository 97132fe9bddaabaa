import { describe, expect, it } from 'vitest'
import { parseSize, sizeText } from './disk'

describe('parseSize', () => {
  it.each([['10G', 10 * 2 ** 30], ['512M', 2 ** 29], ['1.5T', 1.5 * 2 ** 40], ['1000', 1024], ['64k', 65536], ['2GiB', 2 ** 31], ['1 MB', 2 ** 20]])('%s', (text, bytes) => {
    expect(parseSize('--size', text)).toBe(bytes)
  })

  it.each(['', '0', '-1G', '1X', 'G', '1e9', '99999999999T', '1.2.3G', 'NaN'])("refuses '%s'", (text) => {
    expect(() => parseSize('--size', text)).toThrow(/--size .*a size such as 10G/)
  })
})

describe('sizeText', () => {
  it.each([[512, '512 bytes'], [1024, '1 KiB'], [1536, '1.5 KiB'], [10 * 2 ** 30, '10 GiB'], [2 ** 50, '1024 TiB']])('%d', (bytes, text) => {
    expect(sizeText(bytes)).toBe(text)
  })
})
