// What the client uses of React Native, for the type checker alone: the package is large, and not installed here.
declare module "react-native" {
  export const AppState: {
    currentState: string;
    addEventListener(kind: "change", listener: (state: string) => void): { remove(): void };
  };
}
