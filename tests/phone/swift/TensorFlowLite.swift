// What hosts/ios calls of TensorFlowLite, with the same signatures; another process does the work: see test_phone.py.

import Foundation

/// {name: tensor} of tensors written as NAME:1,512=HEX.
func ask(_ line: [String]) -> [String: Tensor] {
  print("?" + line.joined(separator: "|"))
  fflush(stdout)
  let lines = readLine()!.components(separatedBy: "|").map { $0.components(separatedBy: CharacterSet(charactersIn: ":=")) }
  return Dictionary(uniqueKeysWithValues: lines.map { parts in
    let letters = Array(parts[2])
    let bytes = stride(from: 0, to: letters.count, by: 2).map { UInt8(String(letters[$0...$0 + 1]), radix: 16)! }
    let shape = Tensor.Shape(parts[1].components(separatedBy: ",").compactMap { Int($0) })
    return (parts[0], Tensor(shape: shape, data: Data(bytes)))
  })
}

public final class Interpreter {
  public struct Options: Equatable, Hashable {
    public var threadCount: Int? = nil
    public init() {}
  }

  public init(modelPath: String, options: Options? = nil) throws {}

  public func signatureRunner(with key: String) throws -> SignatureRunner { SignatureRunner(key) }
}

public final class SignatureRunner {
  public let signatureKey: String
  public let outputs: [String]
  private let inputs: [String: Tensor]
  private var found: [String: Tensor] = [:]

  init(_ key: String) {
    signatureKey = key
    outputs = Array(ask(["outputs", key]).keys)
    inputs = ask(["inputs", key])
  }

  public func allocateTensors() throws {}

  public func invoke(with inputs: [String: Data]) throws {
    for (name, data) in inputs {
      let required = self.inputs[name]!.shape.dimensions.reduce(4, *)
      guard data.count == required else {
        throw SignatureRunnerError.invalidTensorDataCount(provided: data.count, required: required)
      }
    }
    let given = inputs.map { name, data in name + "=" + data.map { String(format: "%02x", $0) }.joined() }
    found = ask(["run", signatureKey] + given)
  }

  public func input(named name: String) throws -> Tensor { inputs[name]! }

  public func output(named name: String) throws -> Tensor { found[name]! }
}

public enum SignatureRunnerError: Error { case invalidTensorDataCount(provided: Int, required: Int) }

public struct Tensor {
  public let shape: Shape
  public let data: Data

  public struct Shape {
    public let dimensions: [Int]
    init(_ dimensions: [Int]) { self.dimensions = dimensions }
  }
}
