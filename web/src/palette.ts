// The colours of bilinear's reports (src/bilinear/inspection/palette.py), so that a genre looks the same everywhere.

export interface Palette { genres: string[]; other: string; bias: [string, string, string] }

export const LIGHT: Palette = {
  genres: ["#2f6db5", "#c2410c", "#2f855a", "#b7791f", "#7c4dab", "#c2407f", "#0e8a94", "#7a5a3a", "#66751c", "#d1584f"],
  other: "#8b95a1", bias: ["#2f6db5", "#b9bec5", "#c2410c"],
};
export const DARK: Palette = {
  genres: ["#7fb0f0", "#fb923c", "#6fcf97", "#e6c04f", "#b795e8", "#f08cc0", "#4fd1d9", "#c9a27e", "#b7cc5a", "#f58a80"],
  other: "#77828e", bias: ["#6aa5f0", "#555d68", "#fb8a3c"],
};

export const channels = (colour: string) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
