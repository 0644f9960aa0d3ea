// Cuts a text into the words and marks that a tagger of keras_seq reads. Its card.json goes into the app target too.

import Foundation

/// The rule of a card's `words`; `card` is the data of card.json.
///
///     let words = try Words(card: Data(contentsOf: Bundle.main.url(forResource: "card", withExtension: "json")!))
///     let odds = try model.numbers(words.of("It works.").joined(separator: " "), output: "probabilities")
struct Words {
  private struct Card: Decodable { let words: Rule }

  private struct Rule: Decodable {
    let unicode_pattern: String
    let whole, clitics: [String]
    let quotes: Bool
  }

  private typealias Letters = [Unicode.Scalar]  // as String takes é and e with an accent for the same

  private let token: NSRegularExpression
  private let part = try! NSRegularExpression(pattern: #"[^\p{Z}\t-\r\x1c-\x1f\x85]+"#)
  private let whole: Set<Letters>
  private let clitics: [Letters]
  private let quotes: Bool

  init(card: Data) throws {
    let rule = try JSONDecoder().decode(Card.self, from: card).words
    token = try NSRegularExpression(pattern: rule.unicode_pattern)
    whole = Set(rule.whole.map { Array($0.unicodeScalars) })
    clitics = rule.clitics.map { Array($0.unicodeScalars) }
    quotes = rule.quotes
  }

  /// The words and marks of a text, in which there is no white space.
  func of(_ text: String) -> [String] {
    var marks = 0
    return Self.matches(part, text).flatMap(cut).map { word in
      if quotes && word == ["\""] {
        marks += 1
        return marks % 2 == 1 ? "``" : "''"
      }
      return Self.string(word.map { $0 == "\u{2581}" ? "_" : $0 })
    }
  }

  private func cut(_ part: Letters) -> [Letters] {
    if whole.contains(part) { return [part] }
    var found: [Letters] = []
    for word in Self.matches(token, Self.string(part)) {
      if word == ["."], let last = found.last, whole.contains(last + word) {
        found[found.count - 1] += word
      } else {
        found += parted(word)
      }
    }
    return found
  }

  /// A word without its clitic, and the clitic.
  private func parted(_ word: Letters) -> [Letters] {
    if whole.contains(word) { return [word] }
    let lower = Array(Self.string(word).lowercased().unicodeScalars)
    guard let end = clitics.first(where: { lower.suffix($0.count) == $0[...] && word.count > $0.count }) else { return [word] }
    return [Array(word.dropLast(end.count)), Array(word.suffix(end.count))]
  }

  private static func matches(_ pattern: NSRegularExpression, _ text: String) -> [Letters] {
    let all = NSString(string: text)
    return pattern.matches(in: text, range: NSRange(location: 0, length: all.length)).map { match in
      Array(all.substring(with: match.range).unicodeScalars)
    }
  }

  private static func string(_ letters: Letters) -> String {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: letters)
    return String(text)
  }
}
