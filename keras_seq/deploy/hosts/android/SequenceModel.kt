// Runs a .tflite of keras_seq with LiteRT 2.3 for Kotlin.
//
// build.gradle.kts:   implementation("com.google.ai.edge.litert:litert:2.3.0")    (minSdk 24)
// The .tflite goes to src/main/assets, uncompressed:   androidResources { noCompress += "tflite" }

package org.keras_seq

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer

/** An exported file. Create it once, away from the main thread; one call at a time; close it when you are done. */
class SequenceModel(assets: AssetManager, file: String) : AutoCloseable {
  private val compiled = CompiledModel.create(assets, file, CompiledModel.Options(Accelerator.CPU))

  /** A text in, a text out: what `text` (greedy) or `text_beam` writes. `outputs` are all of its, as in README.md. */
  fun text(text: String, outputs: List<String>, signature: String = "text"): String =
    if (text.isBlank()) "" else answer(text, outputs, signature) { letters(it.getValue("utf8")) }

  /** A text in, numbers out: for example `probabilities` of a model that tells how a text feels. */
  fun numbers(text: String, output: String, outputs: List<String>, signature: String = "text"): FloatArray =
    answer(text, outputs, signature) { it.getValue(output).readFloat() }

  /**
   * Any signature. Give all of its inputs and name all of its outputs; README.md lists them. A stream hands the buffers
   * of its state on: what a call of `step` or `decode_step` returned as `state_*` is an input of the next. Close each
   * buffer when you have read it: no one else does.
   */
  fun run(signature: String, inputs: Map<String, TensorBuffer>, outputs: List<String>): Map<String, TensorBuffer> {
    val results = outputs.associateWith { compiled.createOutputBuffer(it, signature) }
    compiled.run(inputs, results, signature)
    return results
  }

  fun ints(name: String, signature: String, data: IntArray): TensorBuffer =
    compiled.createInputBuffer(name, signature).apply { writeInt(data) }

  fun floats(name: String, signature: String, data: FloatArray): TensorBuffer =
    compiled.createInputBuffer(name, signature).apply { writeFloat(data) }

  /** The bytes of a text, then 0; too long a one is cut, a prompt at its beginning and not amid a character. */
  fun utf8(text: String, outputs: List<String>, signature: String = "text"): TensorBuffer {
    val size = compiled.getInputTensorType("utf8", signature).layout!!.dimensions.last()
    var bytes = text.encodeToByteArray().toList()
    if ("prompt" in outputs) bytes = bytes.takeLast(size).dropWhile { (it.toInt() and 0xC0) == 0x80 }
    return ints("utf8", signature, IntArray(size) { if (it < bytes.size) bytes[it].toInt() and 0xFF else 0 })
  }

  /** The text in an output `utf8`. */
  fun letters(utf8: TensorBuffer): String =
    utf8.readInt().takeWhile { it != 0 }.map { it.toByte() }.toByteArray().decodeToString()

  /** What `read` makes of the outputs for a text; their buffers are closed after it. */
  private fun <T> answer(
    text: String, outputs: List<String>, signature: String, read: (Map<String, TensorBuffer>) -> T,
  ): T =
    utf8(text, outputs, signature).use { input ->
      val results = run(signature, mapOf("utf8" to input), outputs)
      try { read(results) } finally { results.values.forEach { it.close() } }
    }

  override fun close() = compiled.close()
}
