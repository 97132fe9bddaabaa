/** The few texts the main process shows itself (menus and native dialogs); everything else is in the renderer's locales. */
import type { Preferences } from '../../preload/contract'

export interface Words {
  readonly file: string
  readonly edit: string
  readonly view: string
  readonly machine: string
  readonly window: string
  readonly help: string
  readonly newMachine: string
  readonly importMachine: string
  readonly preferences: string
  readonly trash: string
  readonly quit: string
  readonly find: string
  readonly start: string
  readonly pause: string
  readonly powerOff: string
  readonly forceStop: string
  readonly reset: string
  readonly takeSnapshot: string
  readonly settings: string
  readonly rename: string
  readonly delete: string
  readonly log: string
  readonly tasks: string
  readonly disks: string
  readonly shortcuts: string
  readonly about: string
  readonly overview: string
  readonly console: string
  readonly snapshots: string
  readonly consolesSideBySide: string
  readonly undo: string
  readonly redo: string
  readonly cut: string
  readonly copy: string
  readonly paste: string
  readonly zoomIn: string
  readonly zoomOut: string
  readonly resetZoom: string
  readonly fullScreen: string
  readonly minimize: string
  readonly close: string
  readonly show: string
  readonly openLinkTitle: string
  readonly openLink: string
  readonly cancel: string
  readonly closeTitle: (running: number) => string
  readonly closeDetail: string
  readonly keepRunning: string
  readonly suspendAll: string
  readonly powerOffAll: string
  readonly allFiles: string
  readonly runningCount: (running: number) => string
  readonly libraryBusyTitle: string
  readonly startFailedTitle: string
}

const en: Words = {
  file: '&File',
  edit: '&Edit',
  view: '&View',
  machine: '&Machine',
  window: '&Window',
  help: '&Help',
  newMachine: 'New Machine…',
  importMachine: 'Import a Machine…',
  preferences: 'Preferences…',
  trash: 'Trash',
  quit: 'Quit',
  find: 'Search Machines',
  start: 'Start',
  pause: 'Pause or Resume',
  powerOff: 'Power Off',
  forceStop: 'Force Stop',
  reset: 'Reset',
  takeSnapshot: 'Take Snapshot…',
  settings: 'Settings…',
  rename: 'Rename…',
  delete: 'Move to Trash',
  log: 'Show Log',
  tasks: 'Tasks',
  disks: 'Disks',
  shortcuts: 'Shortcuts and Commands',
  about: 'About Nestbox',
  overview: 'Overview',
  console: 'Console',
  snapshots: 'Snapshots',
  consolesSideBySide: 'Consoles Side by Side',
  undo: 'Undo',
  redo: 'Redo',
  cut: 'Cut',
  copy: 'Copy',
  paste: 'Paste',
  zoomIn: 'Zoom In',
  zoomOut: 'Zoom Out',
  resetZoom: 'Actual Size',
  fullScreen: 'Full Screen',
  minimize: 'Minimise',
  close: 'Close Window',
  show: 'Show Nestbox',
  openLinkTitle: 'Open this address in your browser? It was written by a guest.',
  openLink: 'Open',
  cancel: 'Cancel',
  closeTitle: (running) => (running === 1 ? 'A machine is still running' : `${running} machines are still running`),
  closeDetail: 'They can go on without the window; open Nestbox again to see them. Suspended machines continue when Nestbox is started again.',
  keepRunning: 'Keep Running',
  suspendAll: 'Suspend and Quit',
  powerOffAll: 'Power Off and Quit',
  allFiles: 'All Files',
  runningCount: (running) => (running === 1 ? '1 machine running' : `${running} machines running`),
  libraryBusyTitle: 'Another Nestbox uses this library',
  startFailedTitle: 'Nestbox could not start',
}

const fr: Words = {
  file: '&Fichier',
  edit: 'É&dition',
  view: '&Affichage',
  machine: '&Machine',
  window: 'Fe&nêtre',
  help: 'Aid&e',
  newMachine: 'Nouvelle machine…',
  importMachine: 'Importer une machine…',
  preferences: 'Préférences…',
  trash: 'Corbeille',
  quit: 'Quitter',
  find: 'Rechercher une machine',
  start: 'Démarrer',
  pause: 'Suspendre ou reprendre',
  powerOff: 'Éteindre',
  forceStop: 'Forcer l’arrêt',
  reset: 'Redémarrer',
  takeSnapshot: 'Prendre un instantané…',
  settings: 'Paramètres…',
  rename: 'Renommer…',
  delete: 'Mettre à la corbeille',
  log: 'Afficher le journal',
  tasks: 'Tâches',
  disks: 'Disques',
  shortcuts: 'Raccourcis et commandes',
  about: 'À propos de Nestbox',
  overview: 'Aperçu',
  console: 'Console',
  snapshots: 'Instantanés',
  consolesSideBySide: 'Consoles côte à côte',
  undo: 'Annuler la frappe',
  redo: 'Rétablir',
  cut: 'Couper',
  copy: 'Copier',
  paste: 'Coller',
  zoomIn: 'Zoom avant',
  zoomOut: 'Zoom arrière',
  resetZoom: 'Taille réelle',
  fullScreen: 'Plein écran',
  minimize: 'Réduire',
  close: 'Fermer la fenêtre',
  show: 'Afficher Nestbox',
  openLinkTitle: 'Ouvrir cette adresse dans votre navigateur ? Elle vient d’un système invité.',
  openLink: 'Ouvrir',
  cancel: 'Annuler',
  closeTitle: (running) => (running === 1 ? 'Une machine fonctionne encore' : `${running} machines fonctionnent encore`),
  closeDetail: 'Elles peuvent continuer sans la fenêtre ; rouvrez Nestbox pour les retrouver. Les machines en veille reprennent au prochain démarrage de Nestbox.',
  keepRunning: 'Laisser tourner',
  suspendAll: 'Mettre en veille et quitter',
  powerOffAll: 'Éteindre et quitter',
  allFiles: 'Tous les fichiers',
  runningCount: (running) => (running === 1 ? '1 machine en marche' : `${running} machines en marche`),
  libraryBusyTitle: 'Un autre Nestbox utilise cette bibliothèque',
  startFailedTitle: 'Nestbox n’a pas pu démarrer',
}

/**
 * The language of native menus and dialogs is that of the window.
 * @param language as in the preferences @param system the computer's, a BCP 47 tag
 */
export const wordsOf = (language: Preferences['language'], system: string): Words => wordsFor(language === 'system' ? system : language)

/** @param locale a BCP 47 tag such as `fr-CA` */
export function wordsFor(locale: string): Words {
  return locale.toLowerCase().startsWith('fr') ? fr : en
}
