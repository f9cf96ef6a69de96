// The colours of bilinear's figures and reports, of one file, so that a genre looks the same everywhere.

import stored from "../../src/bilinear/inspection/web/palette.json";

export interface Palette { genres: string[]; other: string; bias: string[] }

export const LIGHT: Palette = stored.light, DARK: Palette = stored.dark;

export const channels = (colour: string) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
