/** What a person chooses for Nestbox as a whole; kept in the library, so that every window, page and command sees the same. */
import { z } from 'zod'

export const preferences = z.object({
  theme: z.enum(['light', 'dark', 'system']),
  /** `system`: that of the desktop or the browser. */
  language: z.enum(['system', 'en', 'fr']),
  /** CSS pixels. */
  consoleFontSize: z.number().int().min(8).max(28),
  /** Lines. */
  consoleScrollback: z.number().int().min(100).max(100_000),
  /**
   * What becomes of running machines when the app ends: asked each time, suspended, switched off politely (who does not obey within
   * a minute is suspended), or kept running in the background.
   */
  onQuit: z.enum(['ask', 'suspend', 'powerOff', 'keep']),
})
export type Preferences = z.infer<typeof preferences>

export const DEFAULT_PREFERENCES: Preferences = { theme: 'system', language: 'system', consoleFontSize: 13, consoleScrollback: 10_000, onQuit: 'ask' }
