// Does with SequenceModel what each line says, and says what came out: see test_phone.py.

import Foundation

let model = try SequenceModel(path: "model.tflite")
while let line = readLine()?.split(separator: "|", omittingEmptySubsequences: false).map(String.init) {
  print("=" + (try answer(line[0], line[1], line[2].components(separatedBy: ","), Array(line[3...]))))
  fflush(stdout)
}

func answer(_ call: String, _ signature: String, _ outputs: [String], _ given: [String]) throws -> String {
  switch call {
  case "text": return try hex(model.text(text(given[0]), signature: signature).utf8)
  case "numbers": return joined(try model.numbers(text(given[0]), output: given[1], signature: signature))
  case "utf8": return joined(SequenceModel.array(try model.utf8(text(given[0]), signature)) as [Int32])
  case "words": return hex(try Words(card: Data(unhex(given[0]))).of(text(given[1])).joined(separator: " ").utf8)
  default: return try run(signature, outputs, given)
  }
}

/// A tensor is called NAME:int or NAME:float here.
func run(_ signature: String, _ outputs: [String], _ given: [String]) throws -> String {
  var inputs: [String: Data] = [:]
  for line in given {
    let parts = line.components(separatedBy: CharacterSet(charactersIn: ":="))
    let numbers = parts[2].components(separatedBy: ",")
    let floats = SequenceModel.data(numbers.map { Float($0)! })
    inputs[parts[0]] = parts[1] == "int" ? SequenceModel.data(numbers.map { Int32($0)! }) : floats
  }
  let results = try model.run(signature, inputs)
  return outputs.map { $0.components(separatedBy: ":") }.map { name in
    let data = results[name[0]]!
    let numbers = name[1] == "int" ? joined(SequenceModel.array(data) as [Int32]) : joined(SequenceModel.array(data) as [Float])
    return name[0] + "=" + numbers
  }.joined(separator: "|")
}

func joined<T>(_ numbers: [T]) -> String { numbers.map { "\($0)" }.joined(separator: ",") }

func hex<T: Sequence>(_ bytes: T) -> String where T.Element == UInt8 { bytes.map { String(format: "%02x", $0) }.joined() }

func text(_ bytes: String) -> String { String(decoding: unhex(bytes), as: UTF8.self) }

func unhex(_ text: String) -> [UInt8] {
  let letters = Array(text)
  return stride(from: 0, to: letters.count, by: 2).map { UInt8(String(letters[$0...$0 + 1]), radix: 16)! }
}
