// Does with SequenceModel what each line says, and says what came out: see test_phone.py.

import android.content.res.AssetManager
import com.google.ai.edge.litert.TensorBuffer
import com.google.ai.edge.litert.hex
import com.google.ai.edge.litert.open
import com.google.ai.edge.litert.unhex
import org.keras_seq.SequenceModel
import org.keras_seq.Words

fun main() {
  val model = SequenceModel(AssetManager(), "model.tflite")
  while (true) {
    val line = (readlnOrNull() ?: break).split("|")
    println("=" + if (line[0] == "open") "$open" else answer(model, line[0], line[1], line[2].split(","), line.drop(3)))
  }
  model.close()
  check(open == 0)
}

fun answer(model: SequenceModel, call: String, signature: String, outputs: List<String>, given: List<String>): String =
  when (call) {
    "text" -> hex(model.text(text(given[0]), names(outputs), signature).encodeToByteArray())
    "numbers" -> model.numbers(text(given[0]), given[1], names(outputs), signature).joinToString(",")
    "utf8" -> model.utf8(text(given[0]), names(outputs), signature).use { it.readInt().joinToString(",") }
    "words" -> hex(Words(text(given[0])).of(text(given[1])).joinToString(" ").encodeToByteArray())
    else -> run(model, signature, outputs, given)
  }

/** A tensor is called NAME:int or NAME:float here. */
fun run(model: SequenceModel, signature: String, outputs: List<String>, given: List<String>): String {
  val inputs = given.map { it.split(":", "=") }.associate { (name, type, numbers) ->
    name to buffer(model, signature, name, type, numbers.split(","))
  }
  val results = model.run(signature, inputs, names(outputs))
  val lines = outputs.map { it.split(":") }.map { (name, type) -> "$name=${numbers(results.getValue(name), type)}" }
  (inputs.values + results.values).forEach { it.close() }
  return lines.joinToString("|")
}

fun buffer(model: SequenceModel, signature: String, name: String, type: String, numbers: List<String>): TensorBuffer =
  if (type == "int") model.ints(name, signature, numbers.map { it.toInt() }.toIntArray())
  else model.floats(name, signature, numbers.map { it.toFloat() }.toFloatArray())

fun numbers(buffer: TensorBuffer, type: String): String =
  if (type == "int") buffer.readInt().joinToString(",") else buffer.readFloat().joinToString(",")

fun names(tensors: List<String>) = tensors.map { it.substringBefore(":") }

fun text(bytes: String) = unhex(bytes).decodeToString()
