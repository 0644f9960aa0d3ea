// Runs a .tflite of keras_seq with the Swift package of LiteRT 2.3 (product TensorFlowLite; iOS 15).
//
// Xcode: File > Add Package Dependencies, https://github.com/google-ai-edge/LiteRT, branch release/2.3.0, product
// TensorFlowLite; the .tflite goes into the app target. Its SignatureRunner addresses signatures and tensors by name.

import Foundation
import TensorFlowLite

/// An exported file. Create it once, away from the main thread; one call at a time.
final class SequenceModel {
  private let interpreter: Interpreter

  init(path: String) throws {
    var options = Interpreter.Options()
    options.threadCount = 1
    interpreter = try Interpreter(modelPath: path, options: options)
  }

  /// A text in, a text out: what `text` (greedy) or `text_beam` writes.
  func text(_ text: String, signature: String = "text") throws -> String {
    if text.allSatisfy(\.isWhitespace) { return "" }
    return Self.letters(try run(signature, ["utf8": try utf8(text, signature)])["utf8"]!)
  }

  /// A text in, numbers out: for example `probabilities` of a model that tells how a text feels.
  func numbers(_ text: String, output: String, signature: String = "text") throws -> [Float] {
    Self.array(try run(signature, ["utf8": try utf8(text, signature)])[output]!)
  }

  /// Any signature: all of its inputs, and all of its outputs; README.md lists them. A stream hands its state on: what a
  /// call of `step` or `decode_step` returned as `state_*` is an input of the next.
  func run(_ signature: String, _ inputs: [String: Data]) throws -> [String: Data] {
    let runner = try interpreter.signatureRunner(with: signature)
    try runner.allocateTensors()
    try runner.invoke(with: inputs)
    return Dictionary(uniqueKeysWithValues: try runner.outputs.map { ($0, try runner.output(named: $0).data) })
  }

  /// The bytes of a text, then 0; too long a one is cut, a prompt at its beginning and not amid a character.
  func utf8(_ text: String, _ signature: String = "text") throws -> Data {
    let runner = try interpreter.signatureRunner(with: signature)
    try runner.allocateTensors()
    let size = try runner.input(named: "utf8").shape.dimensions.last!
    var bytes = Array(text.utf8)
    if runner.outputs.contains("prompt") { bytes = Array(bytes.suffix(size).drop { $0 & 0xC0 == 0x80 }) }
    let letters = bytes.prefix(size).map { Int32($0) }
    return Self.data(letters + [Int32](repeating: 0, count: size - letters.count))
  }

  /// The text in an output `utf8`.
  static func letters(_ utf8: Data) -> String {
    let letters: [Int32] = array(utf8)
    return String(decoding: letters.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
  }

  static func data<T>(_ array: [T]) -> Data { array.withUnsafeBytes { Data($0) } }

  /// The numbers in a tensor, copied: the bytes of a short Data may lie where no number may.
  static func array<T>(_ data: Data) -> [T] {
    [T](unsafeUninitializedCapacity: data.count / MemoryLayout<T>.stride) { numbers, count in
      count = data.copyBytes(to: numbers) / MemoryLayout<T>.stride
    }
  }
}
