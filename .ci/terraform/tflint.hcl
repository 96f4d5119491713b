# The rules about OpenTofu's language that tflint brings with it. It has more about AWS in a plugin, which is not used.
config {
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}
