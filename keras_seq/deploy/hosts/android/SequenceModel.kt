// Not compiled here. It makes the documented calls of LiteRT 2.3 for Kotlin and no others.
//
// build.gradle.kts:   implementation("com.google.ai.edge.litert:litert:2.3.0")    (minSdk 24)
// The .tflite goes to src/main/assets, uncompressed:   androidResources { noCompress += "tflite" }

package org.keras_seq

import android.content.res.AssetManager
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.Model
import com.google.ai.edge.litert.TensorBuffer

/** An exported file. Create it once, away from the main thread; one call at a time. */
class SequenceModel(assets: AssetManager, file: String) : AutoCloseable {
  private val model = Model.load(assets, file)
  private val compiled = CompiledModel.create(model, CompiledModel.Options(Accelerator.CPU))

  /** A text in, a text out: what `text` (greedy) or `text_beam` writes. `outputs` are all of its, as in README.md. */
  fun text(text: String, outputs: List<String>, signature: String = "text"): String {
    if (text.isBlank()) return ""
    val letters = run(signature, mapOf("utf8" to utf8(text, outputs, signature)), outputs).getValue("utf8").readInt()
    return letters.takeWhile { it != 0 }.map { it.toByte() }.toByteArray().decodeToString()
  }

  /** A text in, numbers out: for example `probabilities` of a model that tells how a text feels. */
  fun numbers(text: String, output: String, outputs: List<String>, signature: String = "text"): FloatArray =
    run(signature, mapOf("utf8" to utf8(text, outputs, signature)), outputs).getValue(output).readFloat()

  /**
   * Any signature. Give all of its inputs and name all of its outputs; README.md lists them. A stream hands the buffers
   * of its state on: what a call of `step` or `decode_step` returned as `state_*` is an input of the next.
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
  private fun utf8(text: String, outputs: List<String>, signature: String): TensorBuffer {
    val size = model.getInputTensorType("utf8", signature).layout!!.dimensions.last()
    var bytes = text.encodeToByteArray().toList()
    if ("prompt" in outputs) bytes = bytes.takeLast(size).dropWhile { (it.toInt() and 0xC0) == 0x80 }
    return ints("utf8", signature, IntArray(size) { if (it < bytes.size) bytes[it].toInt() and 0xFF else 0 })
  }

  override fun close() {
    compiled.close()
    model.close()
  }
}
