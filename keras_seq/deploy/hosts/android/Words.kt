// Cuts a text into the words and marks that a tagger of keras_seq reads. Its card.json goes to src/main/assets too.

package org.keras_seq

import org.json.JSONObject

/**
 * The rule of a card's `words`; `card` is the text of card.json.
 *
 *     val words = Words(assets.open("card.json").reader().readText())
 *     val odds = model.numbers(words.of("It works.").joinToString(" "), "probabilities", outputs)
 */
class Words(card: String) {
  private val rule = JSONObject(card).getJSONObject("words")
  private val token = Regex(rule.getString("unicode_pattern"))
  private val whole = strings("whole").toSet()
  private val clitics = strings("clitics")
  private val quotes = rule.getBoolean("quotes")

  /** The words and marks of a text, in which there is no white space. */
  fun of(text: String): List<String> {
    var marks = 0
    return text.split(SPACE).filter { it.isNotEmpty() }.flatMap(::cut).map {
      if (quotes && it == "\"") MARKS[marks++ % 2] else it.replace("\u2581", "_")
    }
  }

  private fun cut(part: String): List<String> {
    if (part in whole) return listOf(part)
    val found = mutableListOf<String>()
    for (word in token.findAll(part).map { it.value }) {
      if (word == "." && found.isNotEmpty() && found.last() + "." in whole) found[found.lastIndex] += "."
      else found += parted(word)
    }
    return found
  }

  /** A word without its clitic, and the clitic. */
  private fun parted(word: String): List<String> {
    if (word in whole) return listOf(word)
    val end = clitics.find { word.lowercase().endsWith(it) && word.length > it.length } ?: return listOf(word)
    return listOf(word.dropLast(end.length), word.takeLast(end.length))
  }

  private fun strings(key: String): List<String> =
    rule.getJSONArray(key).let { array -> List(array.length()) { array.getString(it) } }

  private companion object {
    val SPACE = Regex("[\\p{Z}\\t-\\r\\x1c-\\x1f\\x85]+")
    val MARKS = listOf("``", "''")
  }
}
