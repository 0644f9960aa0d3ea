// What hosts/android calls of LiteRT 2.3, with the same signatures; another process does the work: see test_phone.py.

package com.google.ai.edge.litert

import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder

var open = 0 // handles that are not closed

enum class Accelerator { NONE, CPU, GPU, NPU }

abstract class JniHandle : AutoCloseable {
  private var closed = false

  init { open++ }

  protected fun assertNotDestroyed() = check(!closed) { "The handle has been destroyed." }

  final override fun close() {
    if (!closed) open--
    closed = true
  }
}

data class TensorType(val elementType: ElementType, val layout: Layout? = null) {
  enum class ElementType { INT, FLOAT, INT8, BOOLEAN, INT64 }

  data class Layout(val dimensions: List<Int>, val strides: List<Int> = listOf())
}

class TensorBuffer internal constructor(size: Int) : JniHandle() {
  internal var bytes = ByteArray(size)

  fun writeInt(data: IntArray) = write(4 * data.size) { buffer -> data.forEach { buffer.putInt(it) } }

  fun writeFloat(data: FloatArray) = write(4 * data.size) { buffer -> data.forEach { buffer.putFloat(it) } }

  fun readInt(): IntArray = buffer().let { buffer -> IntArray(bytes.size / 4) { buffer.getInt() } }

  fun readFloat(): FloatArray = buffer().let { buffer -> FloatArray(bytes.size / 4) { buffer.getFloat() } }

  private fun write(size: Int, put: (ByteBuffer) -> Unit) {
    check(size == bytes.size) { "expected ${bytes.size} bytes, got $size" }
    put(buffer())
  }

  private fun buffer(): ByteBuffer {
    assertNotDestroyed()
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
  }
}

class CompiledModel private constructor() : JniHandle() {
  class Options(vararg val accelerators: Accelerator)

  fun getInputTensorType(inputName: String, signature: String = ""): TensorType =
    TensorType(TensorType.ElementType.INT, TensorType.Layout(shape("inputs", signature, inputName)))

  fun createInputBuffer(inputName: String, signature: String = ""): TensorBuffer = buffer("inputs", signature, inputName)

  fun createOutputBuffer(outputName: String, signature: String = ""): TensorBuffer =
    buffer("outputs", signature, outputName)

  fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String = "") {
    val given = inputs.map { (name, buffer) -> "$name=${hex(buffer.bytes)}" }
    val found = ask("run", signature, *given.toTypedArray())
    check(found.keys == outputs.keys) { "expected buffers for ${found.keys}, got ${outputs.keys}" }
    for ((name, buffer) in outputs) buffer.bytes = unhex(found.getValue(name).second)
  }

  private fun buffer(side: String, signature: String, name: String) =
    TensorBuffer(4 * shape(side, signature, name).fold(1, Int::times))

  private fun shape(side: String, signature: String, name: String) = ask(side, signature).getValue(name).first

  /** {name: its shape and its bytes} of tensors written as NAME:1,512=HEX. */
  private fun ask(vararg line: String): Map<String, Pair<List<Int>, String>> {
    assertNotDestroyed()
    println("?" + line.joinToString("|"))
    return readln().split("|").associate { tensor ->
      val (name, shape, bytes) = tensor.split(":", "=")
      name to (shape.split(",").filter { it != "" }.map { it.toInt() } to bytes)
    }
  }

  companion object {
    @JvmStatic
    fun create(
      assetManager: AssetManager, assetName: String, options: Options = Options(Accelerator.CPU),
    ): CompiledModel = CompiledModel()
  }
}

fun hex(bytes: ByteArray) = bytes.joinToString("") { "%02x".format(it) }

fun unhex(text: String) = text.chunked(2).map { it.toInt(16).toByte() }.toByteArray()
