"""Code streams of HTJ2K that imagecodecs cannot write: by `ojph_compress` of OpenJPH 0.9, of the image below."""

from __future__ import annotations

import base64

import numpy as np

__all__ = ["DAMAGED", "IMAGE", "OTHERS", "OURS"]

_Y, _X = np.mgrid[:22, :29]
IMAGE = (((_X * _X + 3 * _X * _Y) // 7 + (_X * 7919 + _Y * 104729) % 9) % 256).astype(np.uint8)


def _bytes(*lines: str) -> bytes:
    return base64.b85decode("".join(lines))


OURS = {
    # -block_size {16,16} -prog_order LRCP
    "blocks of 16 x 16": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000F4QUDA9000311p)#<0smY86ChAnSYTLK",
        "U|3jSSXfw4P+0$D02TlNPjF>!N>E53R%LP^FfKVRFfRX)015yA0006100IA#z!HFw0S9ydzzJXkumLFE0S9yd<^YFu0N?=!bO68#",
        "hyg4BOp6bb@Bl)T0EGTBGXM(0075hXzzWy_SpXH_tB1@*Cm`)tt_YEq0JlN|(?dZ|<`Kk~091jjasdQEUqcVLA~@Fozzd*&7PJ7m",
        "033161Uu7eGvxrYA%kEPi2Y$x=XLOlKfPqu_O-FU06_xs5soqxz-L-Nbqs_M<7UqgVcY;VDKl}5axju0HUgsHhWlUyBG3N+5CH!#",
        "h3oiGI&lHO7pcG(y1)z806rs=Q*QAb5O8GV5JU_PLKumE?8t?M-xs6!B4Ys^V!fRn1_=eAydwa>a4q%HU#9T`jhFU6@mqJV#!G-D",
        "Cp*~h-_H;}{q&YT$93@gusV1G$jezMa*YgScO^iGdd`LLH!|qhT{x3jN5Vnze`G{jhhX~~8u6S9;csLWrQLT-L{BG!p11;>IB98f",
        "hAKyR#Zj$LFht@27i(I#{-67WWR8gb81%;ryyAC}08GvAOU{m@fB3Xv-JOzO-nVtG4qwTB0(=0h9Be26c9a2!mWat5U_Lk;{safW",
        "9xH<i{1F5e7(A$n1mF)b(T@O*ivav^9VPnL)UUOEdsEXY+CvKzP0Jkm($DX?-SqUP&E8??&bPauY^6?m0{__",
    ),
    # -block_size {4,1024} -num_decomps 1
    "blocks of 4 x 1024": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000C3QUDA90ssL30RRX<0smY82Ov;TP+0$D",
        "02TlNPjF>!N>E53R%LP^FfKVRFfRX)015yA0006u00IA#@CSDLwD)Ja!1ew4cfGwH*XQTs;qCTW&p!`utHIm7ems2q%~J9F?P>3p",
        "dE`f5g+Fukm-UzRm-Uwb05QJ+=j!U_^A=1UdwWlzN@N}jtt|Y@+vOv0A3uMwO1}N<wUuCHv48+)f5xCZ7uA;l05QG*tB=h;@Qoku",
        "-|cP)J0b|bK`=?=DD91Ax&}2kx&mcYn_(FK{1@E)Y3z}*rY!&f2R;DNnjZs$Niv2m<=Z)`1e6dii}LPGkN!U+<=nXX00C~(hUDpH",
        "ieJ&t`#%8i2WstKZtY$G?cKfZk92$h?VYjht*k!7l8c0Al)^x!`ycx5_rFPSI(+~s!t<cS$Nu<9E1j2K&f7ly_<6kmP5}ar1a~CE",
        "0v&M=$~*Ey?qU%?b(hKXO4#mR0Qx`(<HEx4tJA|E0pL4X2m&tccmT-DSt07VOlBQ_LnET6lX*0M_+#%QsXZjW$$bD&%r!2AKjEPG",
        "oC~2|;)?qLTmK_pJD)gx**H3W05VkeMg|@KBSzq^kqL0(q@_`<Q2YQ{z!?YOue^?me(Amdt_18ZoYo=ODoVTWn3ywEIf4=501<iJ",
        "O*LQ%n1BACdcOdC004GOCcyy)5AZ^b`;~8&J3je`rA~eTT#hmvkYSG%HF5k_uBWva@4BIv&@p`gVB>*%a8LmT;14m;LP*3sKMUQa",
        "Sz7hK-T;tD91j0K1c3$o2oU}Vf7DNb&!o8k|Je",
    ),
    # -block_size {1024,4} -prog_order PCRL
    "blocks of 1024 x 4": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000F4QUDA90{{U41qc8@0smY86ChAnSYTLK",
        "U|3jSSXfw4P+0$D02TlNPjF>!N>E53R%LP^FfKVRFfRX)015yA0006k00IA#z!HFw0S9ydzzJXkumLFE0S9yd<^YFu0N?=!bO68#",
        "hyg4BOp6bb@Bl)T0EGTBGXM(0075hXzzWy_SpXH_tB1@*Cm`)tt_YEq0JlN|(?dZ|<`Kk~091jjasdQEUqcVLA~@Fo;0Dy%7y-03",
        "SOK;5fE;nn1Uu7eGv#25KfPqu_O-FQ00Yd141!T0_COE-zA5Q=06_xs5sota1Q6q9&k$kR00Mlb{Qv|vP^JJjDKl}5axju0Hu_)?",
        "0RJzA>-bPQd;mZSZn!`J1KnuRcmVJRZEf#w@CS7pt@l&F4&B`!x4=FllT&W-91w71aL*7v{q&YT$93@gusU!7IwUf95W-0OV@ED5",
        "{J#DMD{l4p$#4Qxi(D?h9{>z|i31&Ruj4T!3P5>B0DxQTq`yt#00BT|=kmRO0LaT(C~}PqWp^b&h<eV2@HaB(*j@Ml5BRiU-JOzO",
        "-nVtG4qwS~0WsM+5)O+05d&!*g6(f;#B(l$zmZjxcHc4a019J;-f=s~fF|?1T5{FrG6B)0lc6WB04Gjb+MJ=vdc{$#P%uQ|2ml4z",
        ")~$cj{uo{W6ju#DwzC0z0IVErC;)bp0f(0Obo8dp-eKs@x4WQhrA}}G7&?GG49B0~0N7(?P=P;!zyfecVPc87ViC0$MVrxP`*8u`",
        "K_v*_4>8eCfa4+naCDdJUsArpF&KrtBJ`v)asmI@",
    ),
    # -precincts {32768,32768} -prog_order CPRL -num_decomps 3
    "precincts of the full size": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000F4QUDME1ONd50|W#>0ssI1|NmS74Iofh",
        "SYTLKSWr+{|6~9b00B>MWo}APNFY{aav(4+IW90R|BwI*000000o(uq|C7KLkoWuY*XuYG+~ZupHvRwsakl`#3fKWz02Sb?hs;GM",
        "AnjMK2$7Zmw?YHcLqSjG5yY1ORDrB=0R%x`Ll3wjIM)Ec3!s1&v;evQ9C6JAJJV`2<p8rGgJ2Yh{b5t*b?}Qny=2z*wXwedK?3p-",
        "jxrR$XIejX41^HlX3r2|+yFKyGjWV^Fp?lP0;1rC`(Okj&;I`q0RJzA>-bPQaRI;=slXSyzzfy@J|mM;Zt)xtaAf2VL<|l>7>R%E",
        "$c2U97o+$hV*wpvy`3Hg2?e0MBLKi~E%nl0rtt%fm-avLTX(O<OMoROJJ|2v&k#QS^p-xyb@2PJI(P!e%ULLLjSOXXB|wOJ&V}$d",
        "GU(V{IFngN!a?zWWJFqrVEY>y@th0cZ)6pv-FHkxPbY((xB{FwX=!tYDo1$5QLRugMB)G!Yg)JdpZkSmj)?vk^v4Ul;&+h%OwI30",
        "&W@yi__Sf&oswVPw{@-#U&(#~d;qK*Y$yPBlmUm9h{+saJ~$ly1P8z#D}xIB5d;<(JgA8T;14m;j{uH~0Q_(rCHmLYueE-AQ`0Ki",
        "Lkkp5%N+XB&+ob2^z^39-eKs@x4WQhrA~SR|Je",
    ),
    # -num_decomps 8 -prog_order RLCP
    "eight levels": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000F4QUDA90RRC22m}N`0smY893W6wSYTLK",
        "U|3jSSXf|KSYTLKU|3jKP*7O^WB?Wb0Z(vcZc0!{AXa5^ATTaDE-)_tkN^q*000020ssO3lfV*ykpTyE00000zzJXkumLFE0S9yd",
        "<^YFu0N?=!bO68#hyg4BOp6bb@Bl)T0EGTBGXM(0075hXzzWy_SpXH_tB1@*Cm`)tt_YEq0JlN|(?dZ|<`Kk~091jjasdQEUqcVL",
        "A~@Fozzd*&7PJ7m033161Uu7eGvxrYA%kEPi2Y$x=XLOlKfPqu_O-FU06_xs5soqxz-L-Nbqs_M<7UqgVcY;VDKl}5axju0HUgsH",
        "hWlUyBG3N+5CH!#h3oiGI&lHO7pcG(y1)z806rs=Q*QAb5O8GV5JU_PLKumE?8t?M-xs6!B4Ys^V!fRn1_=eAydwa>a4q%HU#9T`",
        "jhFU6@mqJV#!G-DCp*~h-_H;}{q&YT$93@gusV1G$jezMa*YgScO^iGdd`LLH!|qhT{x3jN5Vnze`G{jhhX~~8u6S9;csLWrQLT-",
        "L{BG!p11;>IB98fhAKyR#Zj$LFht@27i(I#{-67WWR8gb81%;ryyAC}08GvAOU{m@fB3Xv-JOzO-nVtG4qwTB0(=0h9Be26c9a2!",
        "mWat5U_Lk;{safW9xH<i{1F5e7(A$n1mF)b(T@O*ivav^9VPnL)UUOEdsEXY+CvKzP0Jkm($DX?-SqUP&E8??&bPauY^6?m0{__",
    ),
}
"""For our decoder."""
OTHERS = {
    # -block_size {4,4}
    "blocks of 4 x 4": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000F4QUDA90ssL31poj*0smY86ChAnSYTLK",
        "U|3jSSXfw4P+0$D02TlNPjF>!N>E53R%LP^FfKVRFfRX)015yA0007_00IA#z!HFw0S9ydzzJXkumLFE0S9yd<^YFu0N?=!bO68#",
        "hyg4BOp6bb@Bl)T0EGTBGXM(0075hXzzWy_SpXH_tB1@*Cm`)tt_YEq0JlN|(?dZ|<`Kk~091jjasdQEUqcVLA~@Fo;0CW*n^}Mv",
        "wYfDI0jt+#)PNjuu`~ToSv9e?0OQ1JGvz>wFl%|Y00Ycv>2v^w41!T0_5ct7zLo$90^H%%01)yKjxziJAcqf#HvswoqW}P(X#fN^",
        "H2^j#9i#kT3(z`t0GSL%62wM8f(P_#`#1nVXwh^43fyo206_LO0PqJ>sr7la8l6V7)M`C;tAIMqU#!*Zb(-Cw>a||KUBC{jSL$=>",
        "wR){*s?_?uKt99%K}m2rb^s~D^IrY<dA0yf0RoQvL`vB1Rsj0`4()URIwbsSy1x|wiG2J4Ud?y50Kq%*D=(>K03d{MVd3}n41@!f",
        "01OI3oASMO0Dk-dC3Aar00|3p#62kQ$Uf!)M0Nljk0Al@0C0mf0LaT(A?mpWB)`da08q>|E`$x)I68I!GF0|P1|0^9e(AOVt_18Z",
        "{0IJ@dbR*D**gA)M*IM8Bj+{%84il)T<8Iv&n=b!|04!)*U0_@hQ8O90BIe9t)jI1j)@f2fF|&F0MVtBy#}9uwzdGMOI&dZ-~2gt",
        "017y9($c6_DE<Lw08y3zbA~F*2=PDx7nostH~@SA0QO0TrA~GLT#hpQKp~gVF?Rr9<AF(9^}p5tkVyPbq_hASN^pQ&v1a>r00(63",
        "vGPF}*}Rqj4ucB(P`%M|b^ycS|057s;0T-`RRG}u{y|3lq%(H_Dlz^_)udlm00i)dnCM9u#36P7egeV-d?M8V|Je",
    ),
    # -precincts {16,16} -num_decomps 2
    "precincts of 16 x 16": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A000C3QUDJD0ssL30t5s=0YpSZ|6BkHAW&FX",
        "SWr+{|6~9b00B>MWo}APNFY{aav(4+IW90R|BwI*000000tf&B|C7KMbo2cA@_5-CweEx9bV26%*~wO9Km8>DLL-@}Fu&hz-M1+K",
        "%WKkG?Ys>53klF(glLz754r#VF~0!73!s1&v;evQ9C6JAJJV`2<p8rGgJ2Yh{b5t*b?}Qny=2z*wXwedK?3p-jxrR$XIejX41^Hl",
        "X3r2|+yFKyGjWV^Fp?lP0;1rC`(Okj&;I`q0RJzA>-bPQaRI;<<N<Xs0_Z?KBa_8*atKOH{NrG+#!I&G-@otQNpSnHI&lHW%ULLL",
        "jS%&m3*paX){$^f{2LnaoD2N}IGyBt=;}|qJ0!jiU&(O+d;qK*z>YFtG6z_K17MGpV2Qb7efK-QZu1YIY^6?d0l*gI0d<f9-%dFo",
        ";K+i55QZZc7JgqwDzfkiN%nY^$Jp*(05Vi|R{|OtbnGttKQbb%L$KklkyVs--!bt3rZ{VWCT91M|BFRGy>98U0boPH11-^m!{HxP",
        ";Ey1%z(7c0d(W*h)6&;Qb-&*Lz!k6sr2s7e415LtNq(E==kmRI0MVtBp(n0a+yPtvPyY=+wz>e}K_%e$Vzu=v?IQG~GkXBQ7PJ9u",
        "zzawT3v|T2j>nLI@{Rxi09)>200BgK017y9($eM(RhDXnf*}$h04~;WVR!&hn*apxhnVOmhyeUS(nb-8#36YA|Je",
    ),
    # -num_decomps 0
    "no level": _bytes(
        "|4;u>04YEK0000T0000M00000000000000T0000M0000000000009R90sl|{2mk^A00061QUDA90ssL300aa;0smY81RzNNWB?Wb",
        "0Z(vcZc0!{AXa5^ATTaDE-)_tkN^q*00002yZ{0JlfW<PsQ-HJ_xL@2kJsb%ceveMZ`0T5^x0e{i^Jb8H=1o$lTjiO`0sjM!?3FE",
        "B<=mZ_vicP>-hSeZlBZR^Y^)3UW?P;E?0}SR;5rUQ|UM6gLJ;Toj!|0ey?lS0S|fy_woDhdwZPzmbc$)HaczYinU+sR_bgjk;P%q",
        "zt7v%Fsb&WO}{Q`2IaKpyAUAe-|yG+b31(9Myt!_u-NO>Myt%|kty`^@%A~qRm~Bcb5>F%h+?AJI>OX?0dmUyfBxJKpSR!Xarq0@",
        "Zmrg6lsPo^gZDjrO-s?=Z~A4C5wKGpFE|v4(t3o$lVq&-zu(W>@AR5%{${mPs`H6N3Wa=my}snh-}TF$#6S%4G-QYx4q#A3DxA-0",
        "HP83g=i_vC`3w$gw^U}+cmx9TczIj}MO=U7GXSIBNZoKW+pQ3QVsJnw)(rnwm*e^8@9sEyE#7jgRj1SF|6kwV@3Z;$ZMI8N#xn^Z",
        "6sML06c!mvNfdMW_jLC;oW1YI*Vpdy*$citpUC6?f9`ghWzW;Hnu3Ie<Z%g%wgVg%6U>LS(%tWRb(?E_B7uK>_&J&#CTF?PX)*}J",
        "<F9M-ye#7b#L`qjz%Uq&(1^--Oe-1QpO1^j)N1i)f1myN_i=N&3$9+7&LJ@$hflNLW%LMwIZPXj*N%rkR4SqsEa%6|)#Pop+4sBO",
        "-rxNI9SZ$={c@ZkUXH(6cWU+e_3-PYBVMmxtiONPuh*{1RD}_%*Xu8T_3QPW>o@>Cdi`a8{=IxU@Q7C${d)anfBwCDT(KCn=<D_C",
        "^_PF}>!YLxtXjQ(y?(Oxbtzd37Pv>(uh*~EUVo*G3ao1N`t|zt`pc$z5e!#)_4@Vt_4>=F_DyS$#sB~@fB+0&00S5R0LB0SF}w-?",
        "*#",
    ),
    # -tile_size {16,16} -num_decomps 2
    "tiles": _bytes(
        "|4;u>04YEK0000T0000M00000000000000G0000G0000000000009R90sl|{2mk^A000C3QUDA90ssL30t5s=0smY83LsEeSXfX{",
        "SpQ@I761WHaAj^vP)HzFWpW@eE;%kRF8`1K3IG5A0074T0soW07P#~L`SN&~?9A`8kFCZ$_yA~^001$#0Kf{^0aXAhz#PFjk&$A=",
        "N^v<Mwg3eT4)y_*wTadMHVFgZ^lY=xdUgQ77eN4BOaQttJ|mN5@z@}Tpa3<&9-#1G%b6n5$9{j7`bv^JusU%8$jezM@?D5}&V}%2",
        "GV4e<sQo<!AAt$l09kXdUUYRQ-JOzO8ehqA0ek=~VgNfzn9Kos1_=N-;{0F?DZW#Wx!wAG<{px)rA~4I|BwI*009610KfnN|C7KL",
        "n6LRDI9-qc05wXP87w{EgXp&azzWC#SpX{l<3u$R{6LOv>v^{T2=^lglvxK7Mfj!wnFMCX4o4F-Yx_3<z!u~Ib+7{8PB|dp$by3q",
        "1|wXs{_jF6GVlpW_IQ=Y*zR5cKvZ^D0yY_R>@NI2G9s-*u!S5IDONys$I<ZsrYcZ?CT91M|BFRGy>98U0boPH11-^m!{MI<9r!~C",
        "{6a6GSI@07)6&;Qb-&*L|BwI*00IC20CE5U|C7KKfbsj@*1dJk2q00l0Kf{E0VDvF6d6?hKoC830Qvx<06=KbbO68>i~(st3q%3H",
        "CnOfYV=MRRzba4BdwT%UrIVp2o>!a-zyDAF4L`QJ0O3I;fCKzuwe>6SBJ`v)djS8C015yD0001s00IA#z!jh_EzvG86JGEH0AjTO",
        "zzWC#Q2;7H3L6*#AMOAEfWDRhf*nx+1U5AQ3b0%N06_LO0KgWk0c^kvNW~pu@8>Zjpu8ghz(v01AOaNBc>pw=IB98fhAL~dLctJ;",
        "AOKyg;KJ|#qdNcu@Q0Y_Cx`(2LDEJMh{Pdz0RPz",
    ),
    # -image_offset {3,5} -num_decomps 2
    "not at the origin": _bytes(
        "|4;u>04YEK0000W0000R00003000050000T0000M0000000000009R90sl|{2mk^A000C3QUDA90ssL30t5s=0smY83LsEeSXfX{",
        "SpQ@I761WHaAj^vP)HzFWpW@eE;%kRF8`1K3IG5A00BAx0soW07fSW_^Jp`*%Kv{wh@f}-Z)>q$ZVEJ|h~@kW|13rMH|PKYsk{Kd",
        "3qk-|a01Y#Dsma)E1}6iCFd^%Mz{dS1(3iBk{t9yEcMs2Mek(2I{>MtQ6b5}2tWtD8ulqN*#N*7T>xIE051IDE6pb#Mhr8c$cLpo",
        "fiQ+cap(X696mHnGI{l@MspQ)v({hoe!nl@=T6q^0V)9&*H8yC^R8l~-IHQoArVL7LPC+d5Z+EE9f=F0GIyc)H!!L@UD3IarWi8!",
        "05D!h&(=S-ZpnL=d@Fzb6nI_dW6wD4=e+cQFWExV7h{wH5e<;K02nyHgahE77=S%?03A#Nc0hd)doW~S0`dCN{$KlI`Y$J6cMT(#",
        "vg0fd{*JXN-K)LFpJXt2?$iSRkN^q*0RR91U;qLClfVk70aPM#!6*JD@e6eTt1vO}0LAcwb^yQ@oB>+^EfC!TFF+VgVruqPrttwO",
        "qtN2F0DBjt#s+@?e;>cYc>v)E!2fUmfAa=^5LZfPO?d$SkN^q*0ssI2p#TB@lfV{$>77Pl(=z@52mtq3AT~JwzzUcFUjQorK%w_Q",
        "hP2Uk08{V~mbqle;Q%r(OP7}bM;47?q?_;zGscwwz!yURTF?U3GXP=%a8&?6^9D^X2?2q4y3IcQ^uFN*;u3XB5&XH50jh*tBO{W#",
        "s9CQ@%K!!780VjDYPtXi084Pd8vqQ@fpCT67s9hxn8~{U|BwI*00RI305<>u|C7K8U<AP50S9ydU+n;kbO68=Fa(eSP`MlM{Qz(R",
        "wE+7oa{vJFW3vGN*#",
    ),
}
"""For others."""
DAMAGED: dict[str, tuple[bytes, tuple[int, int], int, bool]] = {
    "a stuffed bit of the samples that is set": (
        _bytes(
            "|4;u>04YEK0001D0001T00000000000001D0001T0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?k",
            "dTm&kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000JOBazlfVEjlyPhv{*E2T#<6j192>{~v2pA;b{",
            "reW#<6j19Qy$EmpQ;OxBvhE00030*#",
        ),
        (114, 98),
        16,
        False,
    ),
    "a stuffed bit of the codes that is set": (
        _bytes(
            "|4;u>04YEK000010000100000000000000100001000000000000E5w0sl|{2mk^A000R8QUDA90ssL31p@;>0smY86F_iyc",
            "z}3#fOvR-czAelaCrY@02crOPjF>!NK{HPOCWY-a&u{KZXhuKkN^q*000008~_3TlfVF&PWu4^^Z<Z>fPjGi*#",
        ),
        (1, 1),
        14,
        True,
    ),
    "events in the half byte that says how long they are": (
        _bytes(
            "|4;u>04YEK0000~0000q00000000000000~0000q000000000000EBy0sl|{2mk^A000dCQUDA90ssL31Ofs;0smY85Fn74n",
            "4p-LpqQALkdT=FWB?Wb0Z(vcZc0!{AXa5^ATTaDE-)_tkN^q*000018vp_SlfVEHfcP*9WB|Yb2_OIjfd05+0RC_T0KfnVpa",
            "2BW00Aic-1reS0Q~2`8U+CT*UTgU-~a}zF8}~47ytpO%ER(}7w`d)K<NPfzu;s5_`i-m0T4$3;Pc}h-~u4%0RHFjWB~902Un",
            "NRpEh5B04pE>3XT8(od5t!002+G01mf5snqJSfPinGoI(Nu0KjSh-~I<B0Qmo2LLmkK`2Kqc0ww_b^YqXK0RG?bBme+!H{lK",
            "dsf>*fYXI=)KdEK_X8`#9S2$p10RI1GL;&#Rd%%EZ0091OU&M3(qYxMbYXJQJaGwB10MP!&fr4NqXaK-|UGN}?EJy%==T5A^",
            "lpv640RH#z1OWfp",
        ),
        (52, 84),
        16,
        True,
    ),
    "a packet header that ends in FF": (
        _bytes(
            "|4;u>04YEK0000q0001100000000000000q000110000000000009R90sl|{2mk^A00092QUDA90ssL31q1{@0smY86Cg-XP",
            "*6}%P*6}%P*6}vNJ#%=02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000ApimYlfWwf_4@jHeFy`Xfwcet00000|Je",
        ),
        (86, 52),
        8,
        False,
    ),
}
"""(stream, rows and columns, bits, sign), found by damaging sound ones: what is wrong of each is easy to miss."""
