// What hosts/android calls of Android's org.json, with the same signatures; it reads what Python's json writes.

package org.json

class JSONObject internal constructor(private val values: Map<String, Any>) {
  constructor(json: String) : this(Reader(json).map())

  fun getJSONObject(name: String) = values.getValue(name) as JSONObject

  fun getJSONArray(name: String) = values.getValue(name) as JSONArray

  fun getString(name: String) = values.getValue(name) as String

  fun getBoolean(name: String) = values.getValue(name) as Boolean
}

class JSONArray internal constructor(private val values: List<Any>) {
  fun length() = values.size

  fun getString(index: Int) = values[index] as String
}

private class Reader(private val json: String) {
  private var place = 0

  fun map(): Map<String, Any> = series('}') { (value() as String).also { check(next() == ':') } to value() }.toMap()

  private fun value(): Any = when (peek()) {
    '{' -> JSONObject(map())
    '[' -> JSONArray(series(']') { value() })
    '"' -> string()
    else -> word().let { it.toBooleanStrictOrNull() ?: it }
  }

  private fun <T> series(end: Char, read: () -> T): List<T> {
    val found = mutableListOf<T>()
    next()
    while (peek() != end) {
      found += read()
      if (peek() == ',') next()
    }
    next()
    return found
  }

  private fun string(): String = buildString {
    next()
    while (json[place] != '"') append(if (json[place] == '\\') escaped() else json[place++])
    place++
  }

  private fun escaped(): Char {
    val letter = json[place + 1]
    place += if (letter == 'u') 6 else 2
    return if (letter == 'u') json.substring(place - 4, place).toInt(16).toChar()
    else mapOf('b' to '\b', 't' to '\t', 'n' to '\n', 'f' to '\u000c', 'r' to '\r')[letter] ?: letter
  }

  private fun word() = json.drop(place).takeWhile { it.isLetterOrDigit() || it in "+-." }.also { place += it.length }

  private fun peek(): Char = json.first(place).also { place = json.indexOf(it, place) }

  private fun next() = peek().also { place++ }

  private fun String.first(from: Int) = drop(from).first { !it.isWhitespace() }
}
